import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { TrainInput } from "../../src/train/options.ts";
import { type PreferenceLoss, pairLoss, verdictLoss } from "../../src/train/preference.ts";
import { tensorsOf } from "../cli/lowrank.ts";
import { caseFolder } from "../goldens/harness.ts";
import { inFolder, rowsFile, run } from "./runs.ts";

interface Expected {
  readonly name: PreferenceLoss;
  readonly start: string;
  readonly steps: readonly { loss: number; grad_norm: number; metrics: Readonly<Record<string, number>> }[];
  readonly weights: Readonly<Record<string, readonly number[]>>;
}

const here = join(import.meta.dirname, "preferences");
const cases = JSON.parse(readFileSync(join(here, "expected.json"), "utf8")) as Expected[];
const rows = (name: string): object[] =>
  readFileSync(join(here, name), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as object);

/** The reference model with a tokenizer of words. */
function model(folder: string): string {
  const path = join(folder, "model");
  cpSync(join(caseFolder("llama-gqa-tied"), "model"), path, { recursive: true });
  cpSync(join(here, "tokenizer"), path, { recursive: true });
  return path;
}

const SETTINGS: Partial<TrainInput> = { batchSize: 3, maxSteps: 4, lr: 5e-3, scheduler: "constant", beta: 0.3 };

test.each(cases.map((each) => [`${each.name}, adapter ${each.start}`, each] as const))(
  "%s: losses, gradient norms, metrics and weights of four steps are TRL's",
  (_, { name, start, steps, weights }) =>
    inFolder(async (folder) => {
      const data = join(here, name === "kto" ? "judged.jsonl" : "pairs.jsonl");
      const kto = name === "kto" ? { desirableWeight: 1.5, undesirableWeight: 0.75 } : {};
      const given = { ...SETTINGS, ...kto, model: model(folder), data, initAdapter: join(here, start), loss: name };
      const found = await run(folder, "out", given);
      expect(found.steps).toHaveLength(steps.length);
      steps.forEach(({ loss, grad_norm, metrics }, i) => {
        const ours = found.steps[i]!;
        expect(Math.abs(ours.loss / loss - 1), `loss of step ${i + 1}: ${ours.loss}, ${loss}`).toBeLessThan(2e-5);
        expect(Math.abs(ours.gradNorm / grad_norm - 1), `norm of step ${i + 1}`).toBeLessThan(1e-4);
        for (const [key, value] of Object.entries(metrics)) {
          if (/^logits|entropy|token_accuracy/.test(key)) continue; // not computed
          expect(Math.abs(Number(ours[key]) - value), `${key} of step ${i + 1}`).toBeLessThan(
            1e-4 + 2e-5 * Math.abs(value),
          );
        }
      });
      const before = tensorsOf(join(here, start, "adapter_model.safetensors"));
      const norm = (values: readonly number[]): number => Math.hypot(...values);
      for (const [key, theirs] of Object.entries(weights)) {
        const [own, from] = [found.weights.get(key)!, before.get(key)!];
        const error = norm(theirs.map((value, i) => value - own[i]!));
        expect(error, key).toBeLessThan(2e-3 * norm(theirs.map((value, i) => value - from[i]!)));
      }
    }),
);

test("a new adapter is held to the base: it starts at log 2, and goes as the same adapter does from a file", () =>
  inFolder(async (folder) => {
    const common = { ...SETTINGS, model: model(folder), data: join(here, "pairs.jsonl"), seed: 4 };
    const fresh = await run(folder, "fresh", common); // pairs are learnt by DPO unless told
    expect(fresh.steps[0]!.loss).toBeCloseTo(Math.LN2, 6);
    expect(fresh.steps[0]!["rewards/margins"]).toBeCloseTo(0, 5);
    expect(fresh.steps.at(-1)!["rewards/margins"]).toBeGreaterThan(0.05);
    const still = await run(folder, "still", { ...common, lr: 0, maxSteps: 1 });
    const again = await run(folder, "again", { ...common, initAdapter: still.out });
    fresh.steps.forEach(({ loss }, i) => {
      expect(again.steps[i]!.loss).toBeCloseTo(loss, 6);
    });
  }));

test("passes, budgets of tokens and evaluation change no preference loss", () =>
  inFolder(async (folder) => {
    for (const [loss, file] of [
      ["dpo", "pairs.jsonl"],
      ["orpo", "pairs.jsonl"],
      ["kto", "judged.jsonl"],
    ] as const) {
      const data = join(here, file);
      const common = { ...SETTINGS, model: model(folder), data, loss, initAdapter: join(here, "moved"), maxSteps: 2 };
      const whole = await run(folder, `${loss}-whole`, { ...common, batchSize: 6, evalData: data });
      const cut = await run(folder, `${loss}-cut`, { ...common, batchSize: 1, gradAccum: 6 });
      const budget = await run(folder, `${loss}-budget`, { ...common, batchSize: 6, tokensPerBatch: 48 });
      for (const other of [cut, budget]) {
        whole.steps.forEach((step, i) => {
          expect(other.steps[i]!.loss).toBeCloseTo(step.loss, 5);
          expect(Math.abs(other.steps[i]!.gradNorm / step.gradNorm - 1)).toBeLessThan(1e-4);
        });
      }
      expect(whole.evals[0]!.loss).toBeCloseTo(whole.steps[0]!.loss, 5);
      expect(whole.evals[0]!["rewards/margins"]).toBeCloseTo(Number(whole.steps[0]!["rewards/margins"]), 4);
    }
  }));

describe("derivatives by the answers' log probabilities", () => {
  const step = 1e-6;
  test.each(["dpo", "ipo", "hinge", "orpo"] as const)("%s", (kind) => {
    const options = { beta: 0.4, labelSmoothing: kind === "dpo" ? 0.2 : 0 };
    const loss = (chosen: number, rejected: number): number =>
      pairLoss(kind, { logp: chosen, reference: -6, tokens: 4 }, { logp: rejected, reference: -9, tokens: 7 }, options)
        .loss;
    const { chosen, rejected } = pairLoss(
      kind,
      { logp: -5, reference: -6, tokens: 4 },
      { logp: -8.5, reference: -9, tokens: 7 },
      options,
    );
    expect(chosen).toBeCloseTo((loss(-5 + step, -8.5) - loss(-5 - step, -8.5)) / (2 * step), 6);
    expect(rejected).toBeCloseTo((loss(-5, -8.5 + step) - loss(-5, -8.5 - step)) / (2 * step), 6);
  });
  test.each([true, false])("kto, a good answer: %s", (desirable) => {
    const options = { beta: 0.4, desirableWeight: 1.3, undesirableWeight: 0.7 };
    const at = (logp: number) => verdictLoss({ logp, reference: -6, tokens: 4 }, desirable, 0.3, options);
    expect(at(-5).slope).toBeCloseTo((at(-5 + step).loss - at(-5 - step).loss) / (2 * step), 6);
  });
  test("label smoothing is the mean of both orders", () => {
    const [a, b] = [
      { logp: -5, reference: -6, tokens: 1 },
      { logp: -8, reference: -7, tokens: 1 },
    ];
    const plain = { beta: 0.4, labelSmoothing: 0 };
    const smooth = pairLoss("dpo", a, b, { beta: 0.4, labelSmoothing: 0.1 }).loss;
    expect(smooth).toBeCloseTo(0.9 * pairLoss("dpo", a, b, plain).loss + 0.1 * pairLoss("dpo", b, a, plain).loss, 12);
  });
});

test("rows and losses that do not belong together are refused with what is needed", () =>
  inFolder(async (folder) => {
    const common = { ...SETTINGS, model: model(folder) };
    const [pairs, judged] = [join(here, "pairs.jsonl"), join(here, "judged.jsonl")];
    await expect(run(folder, "a", { ...common, data: pairs, loss: "kto" })).rejects.toThrow(
      /--loss kto needs rows of {"prompt", "completion", "label": true or false}, found rows of preference/,
    );
    await expect(run(folder, "b", { ...common, data: judged, loss: "dpo" })).rejects.toThrow(
      /needs rows of {"prompt", "chosen"/,
    );
    await expect(run(folder, "c", { ...common, data: judged, batchSize: 1 })).rejects.toThrow(/--batch-size 2 or more/);
    await expect(run(folder, "d", { ...common, data: pairs, loss: "ipo", labelSmoothing: 0.1 })).rejects.toThrow(
      /only dpo/,
    );
    const same = rowsFile(folder, [{ prompt: "w1", chosen: " w2", rejected: " w2" }], "same.jsonl");
    await expect(run(folder, "e", { ...common, data: same })).rejects.toThrow(/same.jsonl:1: .* are the same/);
  }));

test("whole dialogs that begin alike, with and without messages, are a prompt with two answers", () =>
  inFolder(async (folder) => {
    const explicit = rows("pairs.jsonl") as { prompt: string; chosen: string; rejected: string }[];
    const implicit = explicit.map(({ prompt, chosen, rejected }) => ({
      chosen: prompt + chosen,
      rejected: prompt + rejected,
    }));
    const common = { ...SETTINGS, model: model(folder), maxSteps: 1, initAdapter: join(here, "moved") };
    const one = await run(folder, "one", { ...common, data: rowsFile(folder, explicit, "one.jsonl") });
    const two = await run(folder, "two", { ...common, data: rowsFile(folder, implicit, "two.jsonl") });
    expect(two.steps[0]!.loss).toBe(one.steps[0]!.loss);
  }));
