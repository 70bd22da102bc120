/** Keys of LoRA files as a layer's name and a part of its update, in every spelling that trainers write. */

/** The part of a layer's update that a tensor is, by one name for all spellings. */
export type Part =
  | "down"
  | "up"
  | "mid"
  | "alpha"
  | "magnitude"
  | "diff"
  | "diff_b"
  | "hada_w1_a"
  | "hada_w1_b"
  | "hada_w2_a"
  | "hada_w2_b"
  | "hada_t1"
  | "hada_t2"
  | "lokr_w1"
  | "lokr_w1_a"
  | "lokr_w1_b"
  | "lokr_w2"
  | "lokr_w2_a"
  | "lokr_w2_b"
  | "lokr_t1"
  | "lokr_t2";

/** Ends of keys behind the layer's name. */
const ENDS: ReadonlyMap<string, Part> = new Map<string, Part>([
  [".lora_down.weight", "down"],
  [".lora_up.weight", "up"],
  [".lora_mid.weight", "mid"],
  [".lora_A.weight", "down"],
  [".lora_B.weight", "up"],
  [".lora_A.default.weight", "down"],
  [".lora_B.default.weight", "up"],
  [".lora_A", "down"],
  [".lora_B", "up"],
  [".lora.down.weight", "down"],
  [".lora.up.weight", "up"],
  [".lora_linear_layer.down.weight", "down"],
  [".lora_linear_layer.up.weight", "up"],
  [".alpha", "alpha"],
  [".dora_scale", "magnitude"],
  [".lora_magnitude_vector", "magnitude"],
  [".lora_magnitude_vector.weight", "magnitude"],
  [".diff", "diff"],
  [".diff_b", "diff_b"],
  ...(
    [
      "hada_w1_a",
      "hada_w1_b",
      "hada_w2_a",
      "hada_w2_b",
      "hada_t1",
      "hada_t2",
      "lokr_w1",
      "lokr_w1_a",
      "lokr_w1_b",
      "lokr_w2",
      "lokr_w2_a",
      "lokr_w2_b",
      "lokr_t1",
      "lokr_t2",
    ] as const
  ).map((part): [string, Part] => [`.${part}`, part]),
]);

/** diffusers' first form: `….attn1.processor.to_q_lora.down.weight`. */
const PROCESSOR = /^(.*)\.processor\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight$/;

export interface ParsedKey {
  /** As the file has it: `lora_unet_down_blocks_0_…`, or with dots. */
  readonly layer: string;
  readonly part: Part;
}

/** Null for a key that is no part of an update. */
export function parseLoraKey(key: string): ParsedKey | null {
  const old = PROCESSOR.exec(key);
  if (old) {
    const [, block = "", layer = "", half] = old;
    return { layer: `${block}.${layer === "to_out" ? "to_out.0" : layer}`, part: half === "down" ? "down" : "up" };
  }
  const plain = key.replace(/^base_model\.model\./, "");
  let longest: ParsedKey | null = null;
  for (const [end, part] of ENDS) {
    if (!plain.endsWith(end)) continue;
    const layer = plain.slice(0, -end.length);
    if (longest === null || layer.length < longest.layer.length) longest = { layer, part };
  }
  return longest;
}
