import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { StepEvent, TrainEvent } from "../../src/train/events.ts";
import { divergedFrom, evaluationsWithoutGain } from "../../src/train/watch.ts";
import { inFolder, rowsFile, run } from "./runs.ts";

const text = (line: string): object => ({ text: line });
/** Little to learn from on the embedded base: held-out loss falls, then rises. */
function texts(folder: string): { model: string; data: string; evalData: string; batchSize: number } {
  const rows = ["Reads a file and returns its lines.", "Parses the options of a command.", "Writes a value as JSON."];
  const held = ["Reads a folder and returns its files.", "Prints the options of a program."];
  return {
    model: "embedded:gpt2-tiny",
    data: rowsFile(folder, rows.map(text), "train.jsonl"),
    evalData: rowsFile(folder, held.map(text), "held.jsonl"),
    batchSize: 3,
  };
}

test("the best weights are kept, though later ones are worse, and --early-stopping-patience ends the run", () =>
  inFolder(async (folder) => {
    const settings = { ...texts(folder), lr: 3e-2, evalSteps: 2, scheduler: "constant" } as const;
    const long = await run(folder, "long", { ...settings, maxSteps: 40, earlyStoppingPatience: 3 });
    const best = long.evals.toSorted((a, b) => a.loss - b.loss)[0]!;
    expect(best.step).toBe(long.evals.at(-1)!.step - 6);
    expect(long.events.find((event) => event.event === "stopped")).toMatchObject({
      reason: "early-stopping",
      message: `No gain in 3 evaluations; the best was at step ${best.step}.`,
    });
    expect(long.events.at(-1)).toMatchObject({ event: "done", bestStep: best.step, steps: best.step + 6 });
    // OUT holds what a run that ends at the best step has at its end.
    const short = await run(folder, "short", { ...settings, maxSteps: best.step });
    for (const [key, values] of short.weights) expect(long.weights.get(key)).toEqual(values);
  }));

test("patience counts as transformers' EarlyStoppingCallback", () => {
  const losses = (...all: number[]) => all.map((loss) => ({ loss }));
  expect(evaluationsWithoutGain(losses(3, 2, 2.5, 2.2), 0)).toBe(2);
  expect(evaluationsWithoutGain(losses(3, 2, 2.5, 1.9), 0)).toBe(0);
  expect(evaluationsWithoutGain(losses(3, 2, 1.95, 1.9), 0.1)).toBe(2);
  expect(evaluationsWithoutGain(losses(3, Number.NaN, Number.NaN), 0)).toBe(2);
});

test("losses that stay far above the first ones are a divergence; a single spike is none", () => {
  const watch = { divergenceRatio: 3, divergencePatience: 5 };
  const begun = [2, 2.1, 1.9];
  expect(divergedFrom([...begun, 7, 8, 9, 8, 7], watch)).toBe(2);
  expect(divergedFrom([...begun, 7, 8, 5, 8, 7], watch)).toBeNull();
  expect(divergedFrom([...begun, 100], watch)).toBeNull();
  expect(divergedFrom([...begun, 7, 8, 9, 8, 7], { ...watch, divergenceRatio: 0 })).toBeNull();
});

test("a run that diverges is stopped with the cause, and its best weights stay", () =>
  inFolder(async (folder) => {
    const settings = {
      ...texts(folder),
      evalSteps: 5,
      lr: 1,
      maxGradNorm: 0,
      scheduler: "constant",
    } as const;
    const diverging = run(folder, "out", { ...settings, maxSteps: 200, divergenceRatio: 1.05, divergencePatience: 5 });
    await expect(diverging).rejects.toThrow(
      /^Step \d+: the last 5 losses were each more than 1.05 times .* learning rate 1 is probably too high.* The best weights, of step \d+, are in /s,
    );
    expect(existsSync(join(folder, "out", "adapter_model.safetensors"))).toBe(true);
  }));

test("a NaN stops training before the update, with its cause, and is never shown as a number", () =>
  inFolder(async (folder) => {
    const seen: TrainEvent[] = [];
    const exploding = run(folder, "out", { lr: 1e30, maxGradNorm: 0, maxSteps: 20, scheduler: "constant" });
    await expect(exploding.then(({ events }) => seen.push(...events))).rejects.toThrow(
      /the loss is NaN|gradient norm NaN|Infinity/,
    );
    const log = readFileSync(join(folder, "out", "events.jsonl"), "utf8");
    const lines = log
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as StepEvent & { event: string });
    expect(lines[0]).toMatchObject({ event: "session", pid: process.pid });
    expect(lines.at(-1)).toMatchObject({
      event: "error",
      message: expect.stringContaining("stopped before the update"),
    });
    for (const { event, loss } of lines) if (event === "step") expect(loss).toBeTypeOf("number");
  }));

test("samples come at the start, on the way and at the end, and change nothing", () =>
  inFolder(async (folder) => {
    const prompts = rowsFile(folder, [{ prompt: "The " }, { prompt: "Install" }], "prompts.jsonl");
    const data = rowsFile(folder, [{ text: "npm install lowrank" }, { text: "The package is small." }], "texts.jsonl");
    const settings = { model: "embedded:gpt2-tiny", data, maxSteps: 4, lr: 5e-2, batchSize: 2 };
    const { events, weights, file } = await run(folder, "sampled", {
      ...{ ...settings, samplePrompts: prompts, sampleSteps: 2, sampleTokens: 5 },
    });
    const samples = events.filter((event) => event.event === "sample");
    expect(samples.map(({ step, prompt }) => `${step} ${prompt}`)).toEqual(
      [0, 2, 4].flatMap((step) => [`${step} The `, `${step} Install`]),
    );
    expect(samples.slice(-2).map(({ text }) => text)).not.toEqual(samples.slice(0, 2).map(({ text }) => text));
    const training = JSON.parse(file("training.json")) as { history: TrainEvent[] };
    expect(training.history.filter(({ event }) => event === "sample")).toHaveLength(6);
    const plain = await run(folder, "plain", settings);
    for (const [key, values] of plain.weights) expect(weights.get(key)).toEqual(values);
    await expect(run(folder, "none", { samplePrompts: "The " })).rejects.toThrow(/no tokenizer/);
  }));
