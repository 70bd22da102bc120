import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { listCheckpoints } from "../../src/train/state.ts";
import { inFolder, MODEL, rowsFile, run, UNEVEN } from "./runs.ts";

test("other data, other weights and other options are refused by name, and nothing is overwritten", () =>
  inFolder(async (folder) => {
    const model = join(folder, "base");
    cpSync(MODEL, model, { recursive: true });
    const evalData = rowsFile(folder, UNEVEN.slice(0, 3), "held.jsonl");
    const settings = { model, evalData, batchSize: 3, maxSteps: 4, saveSteps: 2 };
    const { out } = await run(folder, "out", settings);
    const before = readFileSync(join(out, "training.json"));
    const again = (more: object): Promise<unknown> => run(folder, "out", { ...settings, resume: true, ...more });
    const other = rowsFile(folder, UNEVEN.slice(1), "other.jsonl");
    await expect(again({ data: other })).rejects.toThrow(
      /cannot be resumed .*\n {2}data: the contents of the training rows have/,
    );
    await expect(again({ evalData: other })).rejects.toThrow(
      /evalData: the contents of the held-out rows have changed/,
    );
    await expect(again({ packing: "off", seed: 9 })).rejects.toThrow(
      /packing: was "auto", is "off"\n {2}seed: was 0, is 9/,
    );
    const weights = join(model, "model.safetensors");
    const bytes = readFileSync(weights);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(weights, bytes);
    await expect(again({})).rejects.toThrow(/base: the contents of the model's weights have changed/);
    expect(readFileSync(join(out, "training.json")).equals(before)).toBe(true);
  }));

test("--save-limit keeps the newest checkpoints; one that a kill left half replaced is still found", () =>
  inFolder(async (folder) => {
    const { out } = await run(folder, "out", { batchSize: 4, maxSteps: 9, saveSteps: 2, saveLimit: 2 });
    expect(listCheckpoints(out).map(({ step }) => step)).toEqual([8, 9]);
    cpSync(join(out, "checkpoint-9"), join(out, "checkpoint-11.replaced"), { recursive: true });
    cpSync(join(out, "checkpoint-9"), join(out, "checkpoint-12.partial"), { recursive: true });
    expect(listCheckpoints(out).map(({ step }) => step)).toEqual([8, 9, 11]);
  }));

test("asked to stop in the middle of a step, a run keeps nothing of it, and goes on to the same weights", () =>
  inFolder(async (folder) => {
    const settings = { batchSize: 1, gradAccum: 5, maxSteps: 6, lr: 1e-2, adapterFields: { lora_dropout: 0.3 } };
    let asked = 0;
    const stopped = await run(folder, "out", settings, { stopRequested: () => ++asked > 12 });
    expect(stopped.events.at(-1)).toMatchObject({ event: "interrupted", step: 3 });
    const resumed = await run(folder, "out", { ...settings, resume: true });
    const whole = await run(folder, "whole", settings);
    for (const [key, values] of whole.weights) expect(resumed.weights.get(key)).toEqual(values);
  }));

test("--resume of a run that was killed before its first checkpoint begins it again; of no run it is refused", () =>
  inFolder(async (folder) => {
    await expect(run(folder, "out", { maxSteps: 2, resume: true })).rejects.toThrow(/holds no run to resume/);
    const { out } = await run(folder, "killed", { maxSteps: 2 }); // no checkpoint: as if killed at its end
    expect(listCheckpoints(out)).toEqual([]);
    const again = await run(folder, "killed", { maxSteps: 2, resume: true });
    expect(again.steps.map(({ step }) => step)).toEqual([1, 2]);
  }));
