/** A base without a head takes the classes of its data; adapters and merged models keep their names. */

import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openSafetensors, readTensors, writeSafetensors } from "../../src/files/safetensors.ts";
import { golden, inScratch, lines, lowrank, readJson } from "./lowrank.ts";

const NAMES = ["art", "law", "news", "sport"];

/** The golden BERT as a published encoder: no head, no pooler, no prefix, no classes. */
function headless(folder: string): string {
  const path = join(folder, "model");
  cpSync(golden("bert-seqcls", "model"), path, { recursive: true });
  const file = join(path, "model.safetensors");
  const kept = [...readTensors(openSafetensors(file))].filter(([name]) => /^bert\.(?!pooler)/.test(name));
  writeSafetensors(
    file,
    kept.map(([name, { shape, data }]) => [
      name.slice("bert.".length),
      { dtype: "f32" as const, shape, data: Float32Array.from(data as Float32Array) },
    ]),
  );
  const { id2label, label2id, problem_type, architectures, ...config } = readJson(join(path, "config.json"));
  writeFileSync(join(path, "config.json"), JSON.stringify(config));
  return path;
}

const ids = (row: number): number[] => Array.from({ length: 4 + row }, (_, i) => 3 + ((7 * row + 3 * i) % 50));

test("classes by name: more than the two of a bare config.json, kept by adapter and merged model", () =>
  inScratch(async (folder) => {
    const model = headless(folder);
    const rows = Array.from({ length: 8 }, (_, row) => ({ input_ids: ids(row), label: NAMES[row % 4] }));
    const data = lines(folder, "data.jsonl", rows);
    const out = join(folder, "out");
    const options = [
      "--model-dropout",
      "--label-smoothing",
      "0.1",
      "--max-steps",
      "3",
      "--batch-size",
      "3",
      "--lr",
      "0.01",
    ];
    const trained = await lowrank("train", "--model", model, "--data", data, "--out", out, ...options, "--json");
    expect(trained.code, trained.stderr).toBe(0);
    expect(readJson(join(out, "lowrank.json"))).toMatchObject({ task: "sequence-classification", classes: NAMES });

    const evaluated = await lowrank("eval", "--model", model, "--adapter", out, "--data", data, "--json");
    const merged = join(folder, "merged");
    const merging = await lowrank("merge", "--model", model, "--adapter", out, "--out", merged, "--json");
    expect(merging.events[0]!["maxAbsDiff"]).toBeLessThan(1e-6);
    expect(readJson(join(merged, "config.json"))["label2id"]).toEqual({ art: 0, law: 1, news: 2, sport: 3 });
    const again = await lowrank("eval", "--model", merged, "--data", data, "--json");
    expect(again.events[0]!["loss"]).toBeCloseTo(Number(evaluated.events[0]!["loss"]), 6);

    const unknown = lines(folder, "unknown.jsonl", [{ input_ids: [5, 6], label: "weather" }]);
    const refused = await lowrank("eval", "--model", model, "--adapter", out, "--data", unknown);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/unknown.jsonl:1: the label "weather" is no class of the model. Known are art, law/);
  }));

test("several labels a row: lists of names are that task, and the adapter remembers it", () =>
  inScratch(async (folder) => {
    const model = headless(folder);
    const rows = Array.from({ length: 6 }, (_, row) => ({ input_ids: ids(row), label: NAMES.slice(row % 3, 1 + row) }));
    const data = lines(folder, "data.jsonl", rows);
    const out = join(folder, "out");
    const trained = await lowrank(
      "train",
      "--model",
      model,
      "--data",
      data,
      "--out",
      out,
      "--max-steps",
      "2",
      "--json",
    );
    expect(trained.events[0]).toMatchObject({ task: "multi-label-classification", targetTokens: 6 });
    const { events } = await lowrank("eval", "--model", model, "--adapter", out, "--data", data, "--json");
    expect(events[0]).toMatchObject({ microF1: expect.any(Number), macroF1: expect.any(Number), rows: 6 });

    const hot = lines(folder, "hot.jsonl", [{ input_ids: ids(2), label: [1, 0, 0.5, 0] }]);
    const options = ["--model", model, "--adapter", out, "--data", hot];
    const refused = await lowrank("eval", ...options);
    expect(refused.stderr).toMatch(/hot.jsonl:1: label\[2\] is 0.5, 0 or 1 is needed/);
    const smoothed = await lowrank(
      "train",
      "--model",
      model,
      "--data",
      data,
      "--out",
      `${out}2`,
      "--label-smoothing",
      "0.1",
    );
    expect(smoothed).toMatchObject({ code: 2, stderr: expect.stringMatching(/labelSmoothing: multi-label/) });
  }));

test("the dropout of the checkpoint is off unless it is asked for, and label smoothing changes the loss", () =>
  inScratch(async (folder) => {
    const model = join(folder, "model");
    cpSync(golden("bert-seqcls", "model"), model, { recursive: true });
    const config = JSON.parse(readFileSync(join(model, "config.json"), "utf8")) as Record<string, unknown>;
    writeFileSync(join(model, "config.json"), JSON.stringify({ ...config, hidden_dropout_prob: 0.3 }));
    const first = async (...options: string[]): Promise<unknown> => {
      const out = join(folder, `out${options.join("")}`);
      const data = golden("bert-seqcls", "data.jsonl");
      const { events } = await lowrank(
        "train",
        "--model",
        model,
        "--data",
        data,
        "--out",
        out,
        "--max-steps",
        "1",
        "--json",
        ...options,
      );
      return events.find(({ event }) => event === "step")!["loss"];
    };
    const plain = await first();
    expect(await first("--seed", "0")).toBe(plain);
    const dropped = await first("--model-dropout");
    expect(dropped).not.toBe(plain);
    expect(await first("--model-dropout", "--seed", "0")).toBe(dropped);
    expect(await first("--label-smoothing", "0.2")).not.toBe(plain);
  }));
