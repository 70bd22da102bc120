/** Short runs in this thread, on a reference model with rows of very unlike lengths. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSafetensors, readTensors } from "../../src/files/safetensors.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { toFloat32 } from "../../src/tensor/convert.ts";
import { randomStream } from "../../src/tensor/random.ts";
import type { EvalEvent, StepEvent, TrainEvent } from "../../src/train/events.ts";
import type { TrainInput } from "../../src/train/options.ts";
import { type TrainEnvironment, trainHere } from "../../src/train/train.ts";
import { caseFolder } from "../goldens/harness.ts";

export const MODEL: string = join(caseFolder("gpt2-c_attn"), "model");

/** Rows of 3 to 60 tokens, of which between one and all are targets. */
export const UNEVEN: readonly object[] = [60, 3, 41, 5, 7, 58, 4, 30, 3, 12, 60, 9].map((length, row) => {
  const random = randomStream(7, row);
  const ids = Array.from({ length }, () => random.integer(90));
  const first = row % 3 === 0 ? length - 1 : row % 3 === 1 ? 1 : Math.floor(length / 2);
  return { input_ids: ids, labels: ids.map((id, i) => (i < first ? -100 : id)) };
});

export interface Trained {
  readonly events: readonly TrainEvent[];
  readonly steps: readonly StepEvent[];
  readonly evals: readonly EvalEvent[];
  readonly weights: ReadonlyMap<string, Float32Array>;
  readonly out: string;
  file(name: string): string;
}

export async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "lowrank-train-"));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export function rowsFile(folder: string, rows: readonly object[], name = "rows.jsonl"): string {
  const path = join(folder, name);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
}

export async function run(
  folder: string,
  name: string,
  input: Partial<TrainInput>,
  environment: Partial<TrainEnvironment> = {},
): Promise<Trained> {
  const out = join(folder, name);
  const all: TrainInput = { model: MODEL, data: rowsFile(folder, UNEVEN), out, shuffle: false, threads: 1, ...input };
  const events: TrainEvent[] = [];
  for await (const event of trainHere(all, { runtime: nodeRuntime, ...environment })) events.push(event);
  const file = (path: string): string => readFileSync(join(out, path), "utf8");
  const weightsFile = join(out, `${input.method === "full" ? "model" : "adapter_model"}.safetensors`);
  const tensors = events.some(({ event }) => event === "done") ? readTensors(openSafetensors(weightsFile)) : new Map();
  return {
    events,
    steps: events.filter((event) => event.event === "step"),
    evals: events.filter((event) => event.event === "eval"),
    weights: new Map([...tensors].map(([key, tensor]) => [key, toFloat32(tensor)])),
    out,
    file,
  };
}
