/**
 * Masked language models trained whole: gradients, losses and weights beside transformers' (masked-lm/make_masked_lm.py),
 * targets drawn in rows of text, and runs that begin with new weights.
 */

import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { type Adapter, initialTensors } from "../../src/adapters/adapter.ts";
import { evaluateHere } from "../../src/evaluate/run.ts";
import { openModel, traceChecked } from "../../src/models/open.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { bindFull } from "../../src/train/full.ts";
import type { TrainInput } from "../../src/train/options.ts";
import { lines, tensorsOf } from "../cli/lowrank.ts";
import { computeGradients, type GoldenRow, relativeError, TOLERANCES } from "../goldens/harness.ts";
import { inFolder, run } from "./runs.ts";

const FOLDER = fileURLToPath(new URL("masked-lm/", import.meta.url));
const ROWS = join(FOLDER, "rows.jsonl");
/** Their true gradient is zero, since softmax ignores them; what Adam makes of the rounding noise is anyone's. */
const NOISE = /\.self\.key\.bias$/;

interface Facts {
  readonly losses: readonly number[];
  readonly gradNorms: readonly number[];
  readonly batchSize: number;
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weightDecay: number;
  readonly maxGradNorm: number;
}

test.each(["bert", "roberta", "deberta-v3", "deberta-v3-head"])(
  "%s: every gradient, and the losses, norms and weights of four steps, are transformers'",
  (name) =>
    inFolder(async (folder) => {
      const { losses, gradNorms, ...settings } = JSON.parse(
        readFileSync(join(FOLDER, name, "facts.json"), "utf8"),
      ) as Facts;
      const expected = tensorsOf(join(FOLDER, name, "expected.safetensors"));
      const model = openModel(join(FOLDER, name, "model"));
      const method = bindFull(traceChecked(model, "masked-lm"));
      const whole = { method, tensors: initialTensors(method, model, 0) } as unknown as Adapter;
      const rows = readFileSync(ROWS, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as GoldenRow);
      const task = "masked-lm";
      const { gradients } = await computeGradients({ model, task }, rows.slice(0, settings.batchSize), whole);
      expect(new Set(gradients.keys())).toEqual(namesOf(expected, "grad."));
      const largest = Math.max(...[...gradients.values()].flatMap((values) => [...values].map(Math.abs)));
      for (const [key, values] of gradients) {
        const theirs = expected.get(`grad.${key}`)!;
        if (NOISE.test(key)) expect(Math.max(...values.map(Math.abs)), key).toBeLessThan(1e-6 * largest);
        else expect(relativeError(values, theirs), key).toBeLessThan(TOLERANCES.gradient);
      }

      const input: Partial<TrainInput> = { model: model.folder, data: ROWS, method: "full", task: "masked-lm" };
      const trained = await run(folder, name, { ...input, ...settings, maxSteps: 4, scheduler: "constant" });
      trained.steps.forEach(({ loss, gradNorm }, i) => {
        expect(Math.abs(loss / losses[i]! - 1)).toBeLessThan(TOLERANCES.loss);
        expect(Math.abs(gradNorm / gradNorms[i]! - 1)).toBeLessThan(TOLERANCES.gradient);
      });
      const ours = tensorsOf(join(trained.out, "model.safetensors"));
      for (const [key, start] of whole.tensors) {
        if (NOISE.test(key)) continue;
        const theirs = expected.get(`trained.${key}`)!;
        const distance = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
          Math.hypot(...Array.from(a, (value, i) => value - b[i]!));
        expect(distance(ours.get(key)!, theirs), key).toBeLessThanOrEqual(2e-3 * distance(theirs, start.data));
      }
    }),
);

function namesOf(tensors: ReadonlyMap<string, unknown>, prefix: string): Set<string> {
  return new Set([...tensors.keys()].flatMap((key) => (key.startsWith(prefix) ? [key.slice(prefix.length)] : [])));
}

/** A model whose tokenizer has a mask: the small RoBERTa with the words w3 to w27 and the special tokens around them. */
function withWords(folder: string, { mask = true } = {}): string {
  const model = join(folder, mask ? "words" : "no-mask");
  cpSync(join(FOLDER, "roberta/model"), model, { recursive: true });
  const words = ["<s>", "<pad>", "</s>", ...Array.from({ length: 25 }, (_, i) => `w${i + 3}`), "<mask>"];
  const special = ["<s>", "<pad>", "</s>", ...(mask ? ["<mask>"] : [])];
  const added = special.map((content) => ({ id: words.indexOf(content), content, special: true, normalized: false }));
  const [sep, cls] = [
    ["</s>", 2],
    ["<s>", 0],
  ];
  const json = {
    version: "1.0",
    added_tokens: added.map((token) => ({ single_word: false, lstrip: false, rstrip: false, ...token })),
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: { type: "RobertaProcessing", sep, cls, trim_offsets: true, add_prefix_space: false },
    decoder: null,
    model: {
      type: "WordLevel",
      unk_token: "w3",
      vocab: Object.fromEntries(words.slice(0, mask ? 29 : 28).map((word, id) => [word, id])),
    },
  };
  writeFileSync(join(model, "tokenizer.json"), JSON.stringify(json));
  const names = { pad_token: "<pad>", unk_token: "w3", ...(mask ? { mask_token: "<mask>" } : {}) };
  writeFileSync(join(model, "tokenizer_config.json"), JSON.stringify(names));
  return model;
}

/** Rows that count up, so that a hidden word can be told from its neighbours. */
const TEXTS = Array.from({ length: 24 }, (_, i) => ({
  text: Array.from({ length: 12 }, (_, at) => `w${3 + ((i + at) % 5)}`).join(" "),
}));

const WHOLE: Partial<TrainInput> = {
  method: "full",
  task: "masked-lm",
  fromScratch: true,
  shuffle: true,
  scheduler: "constant",
};

test("text begins with new weights and learns to fill in what is hidden; eval says what training said", () =>
  inFolder(async (folder) => {
    const model = withWords(folder);
    const data = lines(folder, "texts.jsonl", TEXTS);
    const settings = {
      ...WHOLE,
      model,
      data,
      evalData: data,
      evalSteps: 200,
      maxSteps: 200,
      lr: 0.01,
      mlmProbability: 0.2,
    };
    const { evals, steps, out } = await run(folder, "new", settings);
    expect(evals[0]!["accuracy"]).toBeLessThan(0.2);
    expect(evals.at(-1)!["accuracy"]).toBeGreaterThan(0.5);
    expect(evals.at(-1)!.loss).toBeLessThan(0.6 * evals[0]!.loss);
    // Every row has a target, a fifth of its words on average, and never a special token's place.
    const share = steps.reduce((sum, { targetTokens }) => sum + targetTokens, 0) / (steps.length * 8 * 12);
    expect(share).toBeGreaterThan(0.17);
    expect(share).toBeLessThan(0.26);
    const again = await evaluateHere({ model: out, data, task: "masked-lm", mlmProbability: 0.2 }, nodeRuntime);
    expect(again.loss).toBeCloseTo(evals.at(-1)!.loss, 5);
    expect(again["accuracy"]).toBe(evals.at(-1)!["accuracy"]);
    // The weights that lay in the folder were not looked at.
    rmSync(join(model, "model.safetensors"));
    const bare = await run(folder, "bare", { ...settings, evalData: null, maxSteps: 3 });
    expect(bare.steps.map(({ loss }) => loss)).toEqual(steps.slice(0, 3).map(({ loss }) => loss));
  }));

test("a run that goes on draws what the uninterrupted one drew", () =>
  inFolder(async (folder) => {
    const settings = {
      ...WHOLE,
      model: withWords(folder),
      data: lines(folder, "texts.jsonl", TEXTS),
      lr: 0.01,
      saveSteps: 3,
    };
    const whole = await run(folder, "whole", { ...settings, maxSteps: 6 });
    await run(folder, "parts", { ...settings, maxSteps: 3 });
    const parts = await run(folder, "parts", { ...settings, maxSteps: 6, resume: true });
    expect(parts.steps.map(({ loss }) => loss)).toEqual(whole.steps.slice(3).map(({ loss }) => loss));
    expect(parts.weights).toEqual(whole.weights);
  }));

test("no mask token, nothing to hide, and new weights without full training are refused", () =>
  inFolder(async (folder) => {
    const data = lines(folder, "texts.jsonl", TEXTS);
    const refused = (name: string, input: Partial<TrainInput>): Promise<unknown> =>
      run(folder, name, { ...WHOLE, data, maxSteps: 1, ...input });
    await expect(refused("a", { model: withWords(folder, { mask: false }) })).rejects.toThrow(/no mask token/);
    const model = withWords(folder);
    const empty = lines(folder, "empty.jsonl", [...TEXTS, { text: "" }]);
    await expect(refused("b", { model, data: empty })).rejects.toThrow(/empty\.jsonl:25.*nothing to mask/s);
    await expect(refused("c", { model, method: "lora" })).rejects.toThrow(/--method full/);
  }));
