import { cpSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { checkpointTask, openModel, traceChecked } from "../../src/models/open.ts";
import type { QuantType } from "../../src/precision/blocks.ts";
import { atPrecision } from "../../src/precision/precision.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { caseFolder } from "../goldens/harness.ts";

/** The case's model with the numbers that four bits make of it, as a float32 checkpoint inside `folder`. */
export async function dequantised(name: string, quantType: QuantType, folder: string): Promise<string> {
  const from = join(caseFolder(name), "model");
  const out = join(folder, `${name}-${quantType}`);
  cpSync(from, out, { recursive: true });
  const model = openModel(from);
  const task = checkpointTask(model.rawConfig)!;
  const trace = traceChecked(model, task);
  const options = { precision: "int4", quantType, cacheDir: join(folder, "cache") } as const;
  const held = await atPrecision({ model, trace, task }, options, nodeRuntime);
  let changed = 0;
  const tensors = [...trace.tensors].map(([tensor, shape]) => {
    const data = held.read(tensor, shape);
    if (model.read(tensor, shape).some((value, i) => value !== data[i])) changed++;
    return [tensor, { dtype: "f32", shape, data }] as const;
  });
  expect(changed).toBeGreaterThan(6);
  writeSafetensors(join(out, "model.safetensors"), tensors);
  return out;
}
