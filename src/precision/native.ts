/**
 * A base computed as its GGUF file holds it: matrices of layers stay blocks of codes, of four bits or eight, with the
 * file's own scales. They lie beside the unpacked floats and are mapped from there, so nothing is copied or rounded.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { UsageError } from "../errors.ts";
import { openSafetensors } from "../files/safetensors.ts";
import { BLOCKS_FILE } from "../gguf/unpack.ts";
import type { Model } from "../models/open.ts";
import type { ModelTrace } from "../models/trace.ts";
import { checkpointWeights, matrixOf } from "../models/weights.ts";
import type { StoredTensor } from "../tensor/tensor.ts";
import { present } from "./cache.ts";
import { type BlockMatrix, int4Weights } from "./int4.ts";
import { headBase } from "./int4-cache.ts";

/** Throws UsageError for a base that is no GGUF file, or one of floats alone. */
export function nativeModel(model: Model, trace: ModelTrace, { decoding }: { readonly decoding: boolean }): Model {
  const path = join(model.folder, BLOCKS_FILE);
  if (!existsSync(path)) {
    throw new UsageError(
      `--precision native computes the blocks of a .gguf file, and ${model.name} has none. Use fp32, int8 or int4.`,
    );
  }
  const { tensors } = openSafetensors(path);
  const stored = (name: string): StoredTensor => present(tensors, name, path);
  const matrices = new Map<string, BlockMatrix>();
  for (const module of trace.modules.values()) {
    if (module.kind !== "linear") continue;
    const { spec } = module;
    const { name } = matrixOf(module.name, spec);
    if (!tensors.has(`${name}.codes`)) continue;
    const [codes, scales] = [stored(`${name}.codes`), stored(`${name}.scales`)];
    const bits = codes.shape[1] === spec.in ? 8 : 4;
    matrices.set(name, {
      name,
      out: spec.out,
      in: spec.in,
      block: spec.in / scales.shape[1]!,
      layout: spec.layout ?? "out,in",
      bits,
      codes,
      scales,
      middles: tensors.has(`${name}.offsets`) ? stored(`${name}.offsets`) : null,
      zeros: stored(`middles.${bits}`),
      quads: null,
    });
  }
  // A session maps files of one folder: the head's copy has to lie there, too.
  const heads = decoding ? headBase(model, trace, { cacheDir: model.folder }) : [];
  const base = { matrices: new Map([...matrices, ...heads]), groups: [] };
  return {
    ...model,
    weights: (stream, replaced) =>
      int4Weights(checkpointWeights(model.source, stream, replaced), base, {
        trained: new Set(replaced?.keys()),
        rounded: decoding,
      }),
  };
}
