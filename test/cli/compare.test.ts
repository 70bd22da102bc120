/** compare, as users call it: runs once, goes on, tells of what failed. */

import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { golden, inScratch, lowrank, readJson } from "./lowrank.ts";

const CASE = "gpt2-c_attn";

interface Summary {
  readonly method: string;
  readonly seeds: number;
  readonly mean: number;
  readonly deviation: number;
  readonly lr: number;
  readonly trainableParameters: number;
  readonly inference: Readonly<Record<"base" | "unmerged" | "merged", number>>;
}

test("methods x seeds with a search of the learning rate; a second call runs nothing again", () =>
  inScratch(async (folder) => {
    const data = golden(CASE, "data.jsonl");
    const file = join(folder, "compare.json");
    const comparison = {
      model: golden(CASE, "model"),
      seeds: [0, 1],
      train: { maxSteps: 3, batchSize: 4 },
      tasks: [{ name: "rows", data, evalData: data, test: data }],
      methods: [
        { name: "LoRA", method: "lora", r: 2, lr: [1e-6, 1e-2] },
        { name: "broken", method: "lora", r: 2, targetModules: ["nowhere"] },
      ],
    };
    writeFileSync(file, JSON.stringify(comparison));
    const out = join(folder, "out");
    const first = await lowrank("compare", file, "--out", out, "--json");
    expect(first.code).toBe(1); // one method cannot work
    const runs = first.events.filter(({ event }) => event === "run");
    expect(runs).toHaveLength(4); // two learning rates, the other seed with the better one, the broken one
    const { summary, failures } = readJson(join(out, "compare.json")) as { summary: Summary[]; failures: object[] };
    expect(summary).toMatchObject([{ method: "LoRA", seeds: 2, lr: 1e-2 }]);
    expect(summary[0]!.deviation).toBeGreaterThan(0);
    for (const time of Object.values(summary[0]!.inference)) expect(time).toBeGreaterThan(0);
    expect(failures).toMatchObject([{ method: "broken", error: expect.stringContaining("nowhere") }]);
    expect(existsSync(join(out, "compare.html"))).toBe(true);
    const finished = (): string[] => readdirSync(join(out, "runs")).filter((name) => name.includes("LoRA"));
    const before = finished();
    const second = await lowrank("compare", file, "--out", out, "--json");
    expect(second.events.filter(({ event }) => event === "run")).toHaveLength(1); // the broken one
    expect(finished()).toEqual(before);
    const again = readJson(join(out, "compare.json")) as { summary: Summary[] };
    expect(again.summary).toEqual(summary);
  }));

test("a comparison's mistakes are named together", () =>
  inScratch(async (folder) => {
    const file = join(folder, "wrong.yaml");
    writeFileSync(file, "model: x\ntasks: []\nmethods:\n- {name: a, lr: -1}\nseed: 3\n");
    const run = await lowrank("compare", file, "--out", join(folder, "out"));
    expect(run.code).toBe(2);
    for (const word of ["tasks", "methods.0.lr", "seed"]) expect(run.stderr).toContain(word);
  }));

test("data that is not there is named before anything runs", () =>
  inScratch(async (folder) => {
    const [file, missing] = [join(folder, "compare.json"), join(folder, "missing.jsonl")];
    const tasks = [{ name: "rows", data: missing, evalData: missing }];
    writeFileSync(file, JSON.stringify({ model: golden(CASE, "model"), tasks, methods: [{ name: "LoRA" }] }));
    const run = await lowrank("compare", file, "--out", join(folder, "out"));
    expect(run.code).toBe(1);
    expect(run.stderr).toContain(`cannot read ${missing} (ENOENT)`);
  }));
