/** Whether an adapter's branches fit a pipeline's layers. */

import { AdapterMismatchError } from "../errors.ts";
import type { ModelTrace } from "../models/trace.ts";
import { sizeOf } from "../tensor/shape.ts";
import type { ImageAdapter, ImageBranch } from "./adapter.ts";
import type { Pipeline } from "./pipeline.ts";

/** Widths of the text that models read, by which their adapters are known. */
export const FAMILIES: Readonly<Record<number, string>> = {
  768: "Stable Diffusion 1",
  1024: "Stable Diffusion 2",
  2048: "Stable Diffusion XL",
};

/** Throws AdapterMismatchError that lists every module that is missing or has another size. */
export function checkAdapter(adapter: ImageAdapter, pipeline: Pipeline, where: string): void {
  const problems: string[] = [];
  let foreign: number | null = null;
  for (const [component, branches] of adapter) {
    const trace =
      component === "unet"
        ? pipeline.unet.trace
        : pipeline.textEncoders.find((encoder) => encoder.component === component)?.trace;
    for (const [module, branch] of branches) {
      const problem = trace ? misfit(module, branch, trace) : "the pipeline has no such component";
      if (problem === null) continue;
      problems.push(`${component}.${module}: ${problem}`);
      if (/\.attn2\.to_[kv]$/.test(module)) foreign ??= sizeOf(branch.A.shape.slice(1));
    }
  }
  if (adapter.size === 0) problems.push("none of its layers is one of the model's");
  if (problems.length === 0) return;
  const width = pipeline.unet.config.cross_attention_dim;
  const family = foreign === null ? undefined : FAMILIES[foreign];
  const hint =
    foreign === null
      ? "Check --model."
      : `It was made for models whose text is ${foreign} wide${family ? ` (${family})` : ""}; this one's is ${width}${FAMILIES[width] ? ` (${FAMILIES[width]})` : ""}.`;
  throw new AdapterMismatchError(
    `${where} does not fit ${pipeline.folder}:\n${problems
      .slice(0, 20)
      .map((each) => `  ${each}`)
      .join("\n")}${problems.length > 20 ? `\n  and ${problems.length - 20} more` : ""}\n${hint}`,
    problems,
  );
}

function misfit(module: string, { A, B }: ImageBranch, { modules, convolutions }: ModelTrace): string | null {
  const linear = modules.get(module);
  const conv = convolutions.get(module);
  const r = A.shape[0]!;
  const needed =
    linear?.kind === "linear"
      ? { in: linear.spec.in, out: linear.spec.out }
      : conv
        ? { in: conv.spec.in * conv.spec.kernel ** 2, out: conv.spec.out }
        : null;
  if (!needed) return "the model has no such layer";
  const [width, out] = [sizeOf(A.shape.slice(1)), B.shape[0]!];
  if (width === needed.in && out === needed.out && sizeOf(B.shape) === out * r) return null;
  return `A is [${A.shape}] and B is [${B.shape}], needed [${r}, ${needed.in}] and [${needed.out}, ${r}]`;
}
