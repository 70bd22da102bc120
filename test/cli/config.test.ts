/** init, schema and completion, as users call them. */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { golden, inScratch, lowrank, readJson } from "./lowrank.ts";

test("init writes a file that train takes, and no other is written over", () =>
  inScratch(async (folder) => {
    const [file, out] = [join(folder, "lowrank.yaml"), join(folder, "out: 1")];
    const model = golden("gpt2-c_attn", "model");
    const data = golden("gpt2-c_attn", "data.jsonl");
    const given = ["init", "--file", file, "--model", model, "--data", data, "--out", out, "--r", "2", "--epochs", "1"];
    expect(await lowrank(...given)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("lowrank train --config"),
    });
    const { stdout } = await lowrank("schema", "train", "--json");
    const { properties } = JSON.parse(stdout) as { properties: Record<string, object> };
    expect(Object.keys(parse(readFileSync(file, "utf8")) as object).filter((key) => !(key in properties))).toEqual([]);
    const trained = await lowrank("train", "--config", file, "--eval-split", "0", "--json");
    expect(trained).toMatchObject({ code: 0 });
    expect(readJson(join(out, "adapter_config.json"))).toMatchObject({ r: 2 });
    const again = await lowrank(...given);
    expect(again).toMatchObject({ code: 2, stderr: expect.stringContaining("exists. Choose another --file") });
    const asks = await lowrank("init", "--file", join(folder, "other.yaml"));
    expect(asks).toMatchObject({ code: 2, stderr: expect.stringContaining("needs --model and --data") });
    expect(existsSync(join(folder, "other.yaml"))).toBe(false);
  }));

test("schema: every flag with its type, choices and default; the package's copy is the same", async () => {
  const { stdout } = await lowrank("schema", "train", "--json");
  const schema = JSON.parse(stdout) as { properties: Record<string, unknown> };
  expect(schema.properties).toMatchObject({
    batchSize: { type: "integer", default: 8 },
    scheduler: { enum: ["constant", "linear", "cosine"], default: "linear" },
    betas: { anyOf: [{ type: "string" }, { type: "array", items: { type: "number" } }] },
  });
  expect(readJson("dist/schemas/train.schema.json")).toEqual(schema);
  expect(await lowrank("schema", "trian")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("Did you mean train?"),
  });
});

test("a configuration file may name its schema", () =>
  inScratch(async (folder) => {
    const file = join(folder, "a.json");
    writeFileSync(file, JSON.stringify({ $schema: "x", model: golden("gpt2-c_attn", "model") }));
    const checked = await lowrank("data", "check", golden("gpt2-c_attn", "data.jsonl"), "--config", file, "--json");
    expect(checked).toMatchObject({ code: 0 });
  }));

test("completion: commands, verbs, flags and choices; nothing where files are meant", async () => {
  const complete = async (...words: string[]): Promise<string[]> =>
    (await lowrank("completion", "--words", ...words)).stdout.split("\n").filter((line) => line !== "");
  expect(await complete("tr")).toEqual(["train"]);
  expect(await complete("adapter", "c")).toEqual(["convert", "combine"]);
  expect(await complete("train", "--max-s")).toEqual(["--max-steps"]);
  expect(await complete("train", "--no-sh")).toEqual(["--no-shuffle"]);
  expect(await complete("train", "--scheduler", "")).toEqual(["constant", "linear", "cosine"]);
  expect(await complete("train", "--data", "")).toEqual([]);
  expect((await lowrank("completion", "bash")).stdout).toContain("complete -F _lowrank lowrank");
  expect(await lowrank("completion", "tcsh")).toMatchObject({ code: 2 });
});

test("train --dry-run: rows, steps and time, and nothing written", () =>
  inScratch(async (folder) => {
    const out = join(folder, "out");
    const given = [
      "--model",
      golden("gpt2-c_attn", "model"),
      "--data",
      golden("gpt2-c_attn", "data.jsonl"),
      "--out",
      out,
    ];
    const run = await lowrank("train", ...given, "--batch-size", "2", "--epochs", "2", "--dry-run", "--json");
    expect(run).toMatchObject({ code: 0, events: [{ event: "dry-run", rows: 12, steps: 12, measuredSteps: 4 }] });
    const { secondsPerEpoch, seconds, peakMemoryBytes } = run.events[0] as Record<string, number>;
    expect(seconds).toBeCloseTo(2 * secondsPerEpoch!, 6);
    expect(peakMemoryBytes).toBeGreaterThan(5e7);
    expect(existsSync(out)).toBe(false);
  }));
