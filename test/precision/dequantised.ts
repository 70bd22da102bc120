import { cpSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { checkpointTask, openModel, traceChecked } from "../../src/models/open.ts";
import type { QuantType } from "../../src/precision/blocks.ts";
import { atPrecision } from "../../src/precision/precision.ts";
import { caseFolder } from "../goldens/harness.ts";

/** The case's model with the numbers that four bits make of it, as a float32 checkpoint inside `folder`. */
export function dequantised(name: string, quantType: QuantType, folder: string): string {
  const from = join(caseFolder(name), "model");
  const out = join(folder, `${name}-${quantType}`);
  cpSync(from, out, { recursive: true });
  const model = openModel(from);
  const trace = traceChecked(model, checkpointTask(model.rawConfig)!);
  const held = atPrecision(model, trace, {
    precision: "int4",
    quantType,
    levels: 127,
    cacheDir: join(folder, "cache"),
  });
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
