/** A checkpoint's tensors as models ask for them: by today's names, whatever the file calls them. */

import { ModelError } from "../errors.ts";
import type { TensorEntry } from "../files/safetensors.ts";
import { sameShape } from "../tensor/shape.ts";
import type { StoredTensor } from "../tensor/tensor.ts";
import type { TensorSource } from "./weights.ts";

export interface SourceOptions {
  /** Names under which a tensor may lie, tried in order; the name itself among them. */
  spellings(name: string): readonly string[];
  /** Take a matrix for a convolution of one pixel and the reverse, which are the same numbers. */
  readonly pointwise?: boolean;
}

export function tensorSource(
  where: string,
  tensors: ReadonlyMap<string, TensorEntry>,
  { spellings, pointwise = false }: SourceOptions,
): TensorSource {
  const locate = (name: string): TensorEntry | undefined => {
    for (const spelling of spellings(name)) {
      const entry = tensors.get(spelling);
      if (entry) return entry;
    }
    return undefined;
  };
  const fits = (found: readonly number[], needed: readonly number[]): boolean =>
    sameShape(found, needed) || (pointwise && sameShape(withoutOnes(found), withoutOnes(needed)));
  return {
    has: (name) => locate(name) !== undefined,
    find: (name, shape): StoredTensor => {
      const entry = locate(name);
      if (!entry) throw new ModelError(`${name}: missing, needed [${shape}]`);
      if (!fits(entry.shape, shape)) {
        throw new ModelError(`${name}: has shape [${entry.shape}], needed [${shape}] (in ${where})`);
      }
      const { dtype } = entry;
      if (dtype !== "f32" && dtype !== "f16" && dtype !== "bf16") {
        throw new ModelError(`${name}: stored as ${entry.storedType}, needed F32, F16 or BF16`);
      }
      return { dtype, shape, path: entry.path, offset: entry.offset, byteLength: entry.byteLength };
    },
  };
}

/** One ModelError that lists every tensor of `needed` that is missing or has another shape; null when all fit. */
export function misfits(
  where: string,
  source: TensorSource,
  needed: ReadonlyMap<string, readonly number[]>,
  absent: (name: string) => boolean = () => false,
): ModelError | null {
  const problems: string[] = [];
  for (const [name, shape] of needed) {
    try {
      if (!absent(name) || source.has(name)) source.find(name, shape);
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      problems.push(`  ${error.message}`);
    }
  }
  if (problems.length === 0) return null;
  return new ModelError(
    `${where} does not hold the tensors that its config.json describes:\n${problems.slice(0, 20).join("\n")}` +
      `${problems.length > 20 ? `\n  and ${problems.length - 20} more` : ""}\nDownload the model again, config.json and weights of one revision.`,
  );
}

function withoutOnes(shape: readonly number[]): readonly number[] {
  return shape.slice(0, shape.findLastIndex((extent) => extent !== 1) + 1);
}
