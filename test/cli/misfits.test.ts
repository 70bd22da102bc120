/** Methods, targets, rows and options that do not fit a model: each refused with what, where and what to do. */

import { cpSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { golden, inScratch, lines, lowrank, readJson } from "./lowrank.ts";

test.each<[what: string, name: string, args: readonly string[], message: RegExp]>([
  [
    "a prefix for attention by distance",
    "deberta-v3-style",
    ["--method", "prefix-tuning", "--num-virtual-tokens", "2"],
    /DeBERTa models take no prefix of keys and values.*Use another method/s,
  ],
  ["BitFit without biases", "llama-gqa-tied", ["--method", "bitfit"], /this model has none. Use another method/],
  [
    "DoRA under a start that takes its part off the base",
    "llama-gqa-tied",
    ["--use-dora", "--init", "pissa"],
    /DoRA needs the base as it is/,
  ],
  [
    "an option that the method lacks",
    "gpt2-c_attn",
    ["--method", "prompt-tuning", "--use-dora"],
    /use_dora: PROMPT_TUNING has no such option/,
  ],
  [
    "targets that match nothing",
    "gpt2-c_attn",
    ["--target-modules", "q_proj"],
    /Target modules q_proj match nothing in this model. It has .*c_attn/,
  ],
  [
    "an odd rank for orthogonal values",
    "llama-gqa-tied",
    ["--init", "orthogonal", "--r", "3"],
    /Orthogonal initialisation needs an even rank/,
  ],
])("%s", (_what, name, args, message) =>
  inScratch(async (folder) => {
    const out = join(folder, "out");
    const { code, stderr } = await lowrank(
      "train",
      ...["--model", golden(name, "model"), "--data", golden(name, "data.jsonl"), "--out", out, ...args],
    );
    expect(stderr).toMatch(message);
    expect(code).not.toBe(0);
    expect(existsSync(join(out, "adapter_model.safetensors"))).toBe(false);
  }),
);

test("a prompt cannot be merged into weights", () =>
  inScratch(async (folder) => {
    const name = "llama-prompt-tuning";
    const given = ["--model", golden(name, "model"), "--adapter", golden(name, "adapter")];
    const { code, stderr } = await lowrank("merge", ...given, "--out", join(folder, "merged"));
    expect(code).toBe(2);
    expect(stderr).toMatch(/prompt/i);
    expect(existsSync(join(folder, "merged", "config.json"))).toBe(false);
  }));

test("rows longer than the positions, with the line and the limit", () =>
  inScratch(async (folder) => {
    const ids = Array.from({ length: 81 }, (_, i) => 3 + (i % 40));
    const data = lines(folder, "data.jsonl", [
      { input_ids: [5, 6, 7], label: 0 },
      { input_ids: ids, label: 1 },
    ]);
    const model = golden("bert-seqcls", "model");
    const run = (...more: readonly string[]): ReturnType<typeof lowrank> =>
      lowrank("eval", "--model", model, "--data", data, "--json", ...more);
    const { code, events } = await run();
    expect(code).toBe(1);
    expect(JSON.stringify(events[0])).toMatch(
      /data.jsonl:2: the row has 81 tokens, the model has 80 positions. Use --max-length 80/,
    );
    expect((await run("--max-length", "80")).code).toBe(0);
  }));

test("an option of relative attention that is not known", () =>
  inScratch(async (folder) => {
    const model = join(folder, "model");
    cpSync(golden("deberta-v3-style", "model"), model, { recursive: true });
    const config = readJson(join(model, "config.json"));
    writeFileSync(join(model, "config.json"), JSON.stringify({ ...config, pos_att_type: ["c2p", "p2p"] }));
    const { code, stderr } = await lowrank(
      "eval",
      "--model",
      model,
      "--data",
      golden("deberta-v3-style", "data.jsonl"),
    );
    expect(code).toBe(1);
    expect(stderr).toMatch(/pos_att_type \["c2p","p2p"\] is not supported; supported: c2p, p2c/);
  }));

test("a classifier's adapter on a base of another architecture: the adapter is named, not the base's files", () =>
  inScratch(async (folder) => {
    const data = lines(folder, "rows.jsonl", [{ text: "hello", label: 0 }]);
    const args = ["--adapter", "embedded:deberta-president", "--data", data, "--json"];
    const { code, events } = await lowrank("eval", "--model", "embedded:roberta-tiny", ...args);
    expect(code).toBe(1);
    const told = JSON.stringify(events[0]);
    expect(told).toMatch(
      /deberta-president: the task .* needs classifier\.out_proj\.weight.*trained on .*deberta-tiny/,
    );
    expect(told).not.toMatch(/Download the model again/);
  }));
