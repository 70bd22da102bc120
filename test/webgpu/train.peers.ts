/** Training on WebGPU against PEFT: losses, norms and trained tensors of reference cases; and its adapters on the CPU. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, expect, test } from "vitest";
import { evaluateHere } from "../../src/evaluate/run.ts";
import { openSafetensors, readTensors } from "../../src/files/safetensors.ts";
import { loadBase } from "../../src/generate/load.ts";
import { mergeHere } from "../../src/merge/merge.ts";
import { runtimeOn } from "../../src/runtime/devices.ts";
import { toFloat32 } from "../../src/tensor/convert.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import type { StepEvent } from "../../src/train/events.ts";
import type { TrainInput } from "../../src/train/options.ts";
import { trainHere } from "../../src/train/train.ts";
import { caseFolder, openCase } from "../goldens/harness.ts";
import { noDriver } from "./driver.ts";

const out = mkdtempSync(join(tmpdir(), "lowrank-webgpu-"));
afterAll(() => rmSync(out, { recursive: true }));

beforeEach(({ skip }) => skip(noDriver !== null, noDriver ?? ""));

const CASES = [
  "gpt2-c_attn",
  "llama-gqa-tied",
  "llama-dora",
  "bert-seqcls",
  "roberta-seqcls",
  "phi3",
  "gemma3",
  "deberta-v3-style",
  "llama-prompt-tuning",
];

async function stepsOf(input: TrainInput): Promise<StepEvent[]> {
  const steps: StepEvent[] = [];
  for await (const event of trainHere(input, { runtime: runtimeOn(input.device ?? "cpu") }))
    if (event.event === "step") steps.push(event);
  return steps;
}

/** The training that the case was made by. */
function trainingOf(name: string): TrainInput & { readonly out: string } {
  const { facts } = openCase(name);
  const { lr, betas, eps, weight_decay, max_grad_norm } = facts.optimizer;
  const folder = caseFolder(name);
  return {
    model: join(folder, "model"),
    data: join(folder, "data.jsonl"),
    initAdapter: join(folder, "adapter"),
    out: join(out, name),
    batchSize: facts.batch_size,
    maxSteps: facts.steps,
    shuffle: false,
    scheduler: "constant",
    lr,
    betas,
    eps,
    weightDecay: weight_decay,
    maxGradNorm: max_grad_norm,
    device: "webgpu",
  };
}

function adapterOf(folder: string): ReadonlyMap<string, Tensor> {
  return readTensors(openSafetensors(join(folder, "adapter_model.safetensors")));
}

function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Math.hypot(...Array.from(a, (value, i) => value - b[i]!));
}

test.each(CASES)("%s: losses, norms and trained tensors are PEFT's", async (name) => {
  const { facts, folder } = openCase(name);
  const input = trainingOf(name);
  const steps = await stepsOf(input);
  expect(steps.length).toBe(facts.steps);
  steps.forEach(({ loss, gradNorm }, i) => {
    expect(Math.abs(loss / facts.losses[i]! - 1), `loss ${i + 1}`).toBeLessThan(2e-5);
    expect(Math.abs(gradNorm / facts.grad_norms[i]! - 1), `norm ${i + 1}`).toBeLessThan(1e-4);
  });
  const [start, wanted, found] = [join(folder, "adapter"), join(folder, "trained"), input.out].map(adapterOf);
  for (const [key, tensor] of wanted!) {
    const theirs = toFloat32(tensor);
    const moved = distance(theirs, toFloat32(start!.get(key)!));
    expect(distance(toFloat32(found!.get(key)!), theirs), key).toBeLessThanOrEqual(2e-3 * moved);
  }
});

test("an adapter trained on WebGPU evaluates alike there and on the CPU", async () => {
  const { model, data, out: path } = trainingOf("llama-gqa-tied");
  const measured = async (device: "cpu" | "webgpu"): Promise<number> => {
    const adapters = [{ name: "trained", path, weight: 0.5 }];
    return (await evaluateHere({ model, data, adapters, device }, runtimeOn(device))).loss;
  };
  const [cpu, gpu] = [await measured("cpu"), await measured("webgpu")];
  expect(Math.abs(gpu / cpu - 1)).toBeLessThan(2e-6);
});

test("passes that add up and blocks computed again change nothing; a resumed run goes on as if never stopped", async () => {
  const whole = await stepsOf({ ...trainingOf("gpt2-c_attn"), out: join(out, "whole"), gradAccum: 2, batchSize: 2 });
  const again = { ...trainingOf("gpt2-c_attn"), out: join(out, "again"), recompute: "full", saveSteps: 1 } as const;
  const once = await stepsOf({ ...again, batchSize: 4, maxSteps: 2 });
  const rest = await stepsOf({ ...again, batchSize: 4, resume: true });
  [...once, ...rest].forEach(({ loss, gradNorm }, i) => {
    expect(Math.abs(loss / whole[i]!.loss - 1), `loss ${i + 1}`).toBeLessThan(2e-6);
    expect(Math.abs(gradNorm / whole[i]!.gradNorm - 1), `norm ${i + 1}`).toBeLessThan(2e-5);
  });
  expect(once.length + rest.length).toBe(whole.length);
});

test("a 16-bit base is computed in float32; other precisions are refused", async () => {
  const input = { ...trainingOf("gpt2-c_attn"), out: join(out, "int8"), precision: "int8" } as const;
  await expect(stepsOf(input)).rejects.toThrow("--precision int8 is computed on the CPU alone");
  const { model, data } = input;
  for (const dtype of ["bf16", "f16"] as const) {
    const half = join(out, dtype);
    await mergeHere(
      { model, adapters: [{ name: "a", path: input.initAdapter!, weight: 1 }], out: half, dtype },
      runtimeOn("cpu"),
    );
    const [cpu, gpu] = await Promise.all(
      (["cpu", "webgpu"] as const).map((device) => evaluateHere({ model: half, data }, runtimeOn(device))),
    );
    expect(Math.abs(gpu!.loss / cpu!.loss - 1), dtype).toBeLessThan(2e-6);
  }
});

test("generation takes the same tokens as on the CPU", async () => {
  const texts: string[] = [];
  for (const device of ["cpu", "webgpu"] as const) {
    const base = await loadBase("embedded:gpt2-tiny", {}, runtimeOn(device));
    texts.push((await base.complete({ prompt: "The installation of this package", maxTokens: 4 })).text);
    await base.close();
  }
  expect(texts[1]).toBe(texts[0]);
});
