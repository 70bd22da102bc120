import { mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { evaluateHere } from "../../src/evaluate/run.ts";
import { byteLevels, fourBitKernel } from "../../src/precision/levels.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import type { TrainEvent } from "../../src/train/events.ts";
import type { Prepack } from "../../src/train/memory-options.ts";
import { trainHere } from "../../src/train/train.ts";
import { caseFolder } from "../goldens/harness.ts";

const folder = mkdtempSync(join(tmpdir(), "lowrank-precision-"));

async function run(
  name: string,
  out: string,
  precision: "fp32" | "int8",
  recompute: "none" | "full",
  prepack: Prepack = "auto",
): Promise<TrainEvent[]> {
  const at = caseFolder(name);
  const events: TrainEvent[] = [];
  const input = {
    model: join(at, "model"),
    initAdapter: join(at, "adapter"),
    data: join(at, "data.jsonl"),
    out: join(folder, out),
    batchSize: 2,
    maxSteps: 6,
    lr: 5e-3,
    scheduler: "constant",
    shuffle: false,
    cacheDir: join(folder, "cache"),
    precision,
    recompute,
    prepack,
  } as const;
  for await (const event of trainHere(input, { runtime: nodeRuntime })) events.push(event);
  return events;
}

const losses = (events: readonly TrainEvent[]): number[] =>
  events.flatMap((each) => (each.event === "step" ? [each.loss] : []));

test.each(["gpt2-all-linear-rslora", "llama-untied-patterns", "llama-dora", "roberta-seqcls", "phi3"])(
  "%s: six steps on an int8 base stay near fp32's",
  async (name) => {
    const fp32 = losses(await run(name, `${name}-fp32`, "fp32", "none"));
    const int8 = losses(await run(name, `${name}-int8`, "int8", "none"));
    int8.forEach((loss, i) => {
      expect(Math.abs(loss - fp32[i]!)).toBeLessThan(0.03 * fp32[i]!);
    });
    expect(int8).not.toEqual(fp32);
  },
);

test("the quantised copy is made once, and an adapter trained on it is an ordinary PEFT folder", async () => {
  const before = readdirSync(join(folder, "cache")).length;
  const again = await run("gpt2-all-linear-rslora", "again", "int8", "none");
  expect(readdirSync(join(folder, "cache")).length).toBe(before);
  expect(again.at(-1)?.event).toBe("done");
  const at = caseFolder("gpt2-all-linear-rslora");
  const input = {
    model: join(at, "model"),
    data: join(at, "data.jsonl"),
    adapters: [{ name: "a", path: join(folder, "again"), weight: 1 }],
  };
  const fp32 = await evaluateHere(input, nodeRuntime);
  const int8 = await evaluateHere({ ...input, precision: "int8", cacheDir: join(folder, "cache") }, nodeRuntime);
  expect(Math.abs(int8.loss - fp32.loss)).toBeLessThan(0.03 * fp32.loss);
});

test("--recompute full gives the losses of none", async () => {
  const none = losses(await run("llama-untied-patterns", "none", "fp32", "none"));
  const full = losses(await run("llama-untied-patterns", "full", "fp32", "full"));
  full.forEach((loss, i) => {
    expect(loss).toBeCloseTo(none[i]!, 5);
  });
});

test("--prepack changes no loss: of float32 to five digits, of bytes not by a bit", async () => {
  const plain = losses(await run("llama-untied-patterns", "plain", "fp32", "none", "off"));
  const packed = losses(await run("llama-untied-patterns", "packed", "fp32", "none", "on"));
  packed.forEach((loss, i) => {
    expect(loss).toBeCloseTo(plain[i]!, 5);
  });
  const bytes = losses(await run("llama-untied-patterns", "bytes", "int8", "none", "off"));
  expect(losses(await run("llama-untied-patterns", "packed-bytes", "int8", "none", "on"))).toEqual(bytes);
});

test("this machine's 8-bit products are probed, not guessed", async () => {
  expect([127, 63]).toContain(await byteLevels(nodeRuntime));
});

test("this machine decodes four bits by their kernel", async () => {
  expect(await fourBitKernel(nodeRuntime)).toBe(true);
});
