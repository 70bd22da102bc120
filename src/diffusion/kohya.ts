/**
 * LoRA files as kohya's trainers write them: `lora_unet_…` and `lora_te_…` before the module's name with every dot an
 * underscore, and `.lora_down.weight`, `.lora_up.weight`, `.alpha` behind it. The names come from the model: they cannot
 * be taken apart again.
 */

import { AdapterMismatchError } from "../errors.ts";
import { openSafetensors, readTensors } from "../files/safetensors.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import type { ImageAdapter, ImageBranch } from "./adapter.ts";
import type { Pipeline } from "./pipeline.ts";

/** Reads a file onto a pipeline. Throws AdapterMismatchError that lists whatever does not fit. */
export function readKohya(path: string, pipeline: Pipeline): ImageAdapter {
  const tensors = readTensors(openSafetensors(path));
  const names = kohyaNames(pipeline);
  const problems: string[] = [];
  const parts = new Map<string, Map<string, FloatTensor>>();
  for (const [key, stored] of tensors) {
    const dot = key.indexOf(".");
    const [module, part] = [key.slice(0, dot), key.slice(dot + 1)];
    if (!names.has(module)) problems.push(`${key}: the model has no such module`);
    else if (!["lora_down.weight", "lora_up.weight", "alpha"].includes(part)) problems.push(`${key}: not read`);
    else {
      const tensor = floatTensor(stored.shape, toFloat32(stored));
      parts.set(module, (parts.get(module) ?? new Map()).set(part, tensor));
    }
  }
  const adapter = new Map<string, Map<string, ImageBranch>>();
  for (const [kohya, found] of parts) {
    const [A, B] = [found.get("lora_down.weight"), found.get("lora_up.weight")];
    if (!A || !B) {
      problems.push(`${kohya}: lora_down or lora_up is missing`);
      continue;
    }
    const { component, module } = names.get(kohya)!;
    const rank = A.shape[0]!;
    const alpha = found.get("alpha")?.data[0];
    const branches = adapter.get(component) ?? new Map<string, ImageBranch>();
    adapter.set(component, branches.set(module, { A, B, scale: alpha ? alpha / rank : 1 }));
  }
  if (problems.length === 0) return adapter;
  throw new AdapterMismatchError(
    `${path} does not fit ${pipeline.folder}:\n${problems
      .slice(0, 20)
      .map((each) => `  ${each}`)
      .join("\n")}${problems.length > 20 ? `\n  and ${problems.length - 20} more` : ""}`,
    problems,
  );
}

function kohyaNames({ unet, textEncoders }: Pipeline): Map<string, { component: string; module: string }> {
  const names = new Map<string, { component: string; module: string }>();
  const add = (prefix: string, component: string, { modules, convolutions }: Pipeline["unet"]["trace"]): void => {
    for (const module of [...modules.keys(), ...convolutions.keys()]) {
      names.set(`${prefix}_${module.replaceAll(".", "_")}`, { component, module });
    }
  };
  add("lora_unet", "unet", unet.trace);
  textEncoders.forEach(({ component, trace }, i) => {
    if (textEncoders.length === 1) add("lora_te", component, trace);
    add(`lora_te${i + 1}`, component, trace);
  });
  return names;
}
