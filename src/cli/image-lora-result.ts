/** What commands say of a LoRA file of Stable Diffusion that they wrote. */

import type { ImageLoraResult } from "../convert/image-lora.ts";
import type { Output } from "./output.ts";

export function showImageLora(result: ImageLoraResult, output: Output, verb: string): void {
  for (const warning of result.warnings) output.note(`Warning: ${warning}`);
  const { out, modules, r, matched, tensors } = result;
  output.result(
    result,
    () => `${verb}: ${out} (${modules} layers, rank ${r} at most; ${matched} of ${tensors} tensors matched).`,
  );
}
