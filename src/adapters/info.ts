/** What an adapter's folder holds, told without its base. */

import { statSync } from "node:fs";
import { FormatError } from "../errors.ts";
import { hashFile } from "../files/fingerprint.ts";
import { sizeOf } from "../tensor/shape.ts";
import { openPeftFolder } from "./peft-folder.ts";

export interface AdapterInfo {
  /** PEFT's name of the method: "LORA". */
  readonly type: string;
  /** Null for methods without a rank. */
  readonly r: number | null;
  readonly alpha: number | null;
  readonly targetModules: string | readonly string[] | null;
  /** Modules that the file has tensors for. */
  readonly modules: number;
  readonly parameters: number;
  /** Of the safetensors file. */
  readonly bytes: number;
  /** "f32"; of most elements, when types are mixed. */
  readonly dtype: string;
  readonly baseModel: string | null;
  /** Of the safetensors file. */
  readonly sha256: string;
}

/** Ends of tensor names behind the module's own. */
const TENSOR =
  /\.(?:lora_(?:embedding_)?[AB]|lora_magnitude_vector|ia3_l|hada_w[12]_[ab]|lokr_w[12](?:_[ab])?|base_layer)(?:\.\w+)?$|\.(?:weight|bias)$/;

/** Reads configuration and header, and the file once for its hash. Throws ModelError when the folder is no adapter. */
export function adapterInfo(path: string): AdapterInfo {
  const { config, tensors } = openPeftFolder(path);
  const [first] = tensors.values();
  if (!first) throw new FormatError(`${path}: the adapter has no tensors. Train or copy it again.`);
  const fields = config as unknown as Readonly<Record<string, unknown>>;
  const counts = new Map<string, number>();
  for (const { shape, storedType } of tensors.values()) {
    counts.set(storedType, (counts.get(storedType) ?? 0) + sizeOf(shape));
  }
  const [type] = [...counts].toSorted(([, a], [, b]) => b - a)[0]!;
  return {
    type: config.peft_type,
    r: (fields["r"] as number | undefined) ?? null,
    alpha: ((fields["lora_alpha"] ?? fields["alpha"]) as number | undefined) ?? null,
    targetModules: (fields["target_modules"] as string | readonly string[] | null | undefined) ?? null,
    modules: new Set([...tensors.keys()].map((key) => key.replace(TENSOR, ""))).size,
    parameters: [...counts.values()].reduce((a, b) => a + b, 0),
    bytes: statSync(first.path).size,
    dtype: type.toLowerCase(),
    baseModel: config.base_model_name_or_path,
    sha256: hashFile(first.path),
  };
}
