/** The other commands from outside. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { golden, inScratch, lowrank, start, tensorsOf } from "./lowrank.ts";

const CASE = "gpt2-c_attn";

test("help, version, and names that do not exist", async () => {
  const [help, version, none, mistyped, flag, command] = await Promise.all([
    lowrank("--help"),
    lowrank("--version"),
    lowrank(),
    lowrank("trian"),
    lowrank("eval", "--modle", "x", "--json"),
    lowrank("train", "--help"),
  ]);
  expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining("adapter info") });
  expect(version).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+/) });
  expect(none.code).toBe(2);
  expect(mistyped).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining("Did you mean train?") });
  expect(flag).toMatchObject({ code: 2, events: [{ error: "--modle is no option. Did you mean --model?" }] });
  expect(command.stdout).toMatch(/--batch-size N .*\(8\)/);
});

test("eval: loss per target token of base and adapter, and the scores of every row", () =>
  inScratch(async (folder) => {
    const file = join(folder, "logits.safetensors");
    const given = ["eval", "--model", golden(CASE, "model"), "--data", golden(CASE, "data.jsonl"), "--json"];
    const adapter = golden(CASE, "adapter");
    const [base, off, on] = await Promise.all([
      lowrank(...given),
      lowrank(...given, "--adapter", `mine=${adapter}@0`),
      lowrank(...given, "--adapter", `a=${adapter}@0.25`, "--adapter", `b=${adapter}@0.75`, "--logits", file),
    ]);
    expect(base.events[0]).toMatchObject({ rows: 12, targetTokens: 135 });
    expect(Number(off.events[0]!["loss"])).toBeCloseTo(Number(base.events[0]!["loss"]), 6);
    const [first, second] = ["row.0", "row.1"].map((name) => tensorsOf(file).get(name)!);
    const expected = openSafetensors(golden(CASE, "expected.safetensors")).tensors.get("adapter.logits")!;
    const wanted = tensorsOf(golden(CASE, "expected.safetensors")).get("adapter.logits")!;
    const stride = expected.shape[1]! * expected.shape[2]!;
    for (const [row, from] of [
      [first!, 0],
      [second!, stride],
    ] as const) {
      row.forEach((value, i) => {
        expect(Math.abs(value - wanted[from + i]!)).toBeLessThan(5e-5);
      });
    }
    expect(on.events[0]!["loss"]).not.toBe(base.events[0]!["loss"]);
  }));

test("eval: a classifier's accuracy", async () => {
  const name = "bert-seqcls";
  const given = [
    "--model",
    golden(name, "model"),
    "--adapter",
    golden(name, "trained"),
    "--data",
    golden(name, "data.jsonl"),
  ];
  const { events } = await lowrank("eval", ...given, "--json");
  expect(events[0]).toMatchObject({ rows: 12, targetTokens: 12, accuracy: expect.any(Number) });
});

test("verify computes every tensor of a case", () =>
  inScratch(async (folder) => {
    const file = join(folder, "ours.safetensors");
    const { code, events } = await lowrank("verify", golden(CASE), "--write", file, "--json");
    expect(code).toBe(0);
    const shapes = (path: string) =>
      [...openSafetensors(path).tensors]
        .map(([key, { shape }]) => `${key} [${shape}]`)
        .toSorted((a, b) => (a < b ? -1 : 1));
    expect(shapes(file)).toEqual(shapes(golden(CASE, "expected.safetensors")));
    const differences = events[0]!["differences"] as Record<string, number>;
    for (const kind of ["base.logits", "adapter.logits", "trained.logits", "merged.logits"]) {
      expect(differences[kind], kind).toBeLessThan(5e-5);
    }
    expect(differences["grad"]).toBeLessThan(1e-4);
    expect(differences["adapter.loss"]).toBeLessThan(2e-5);
  }));

test("merge writes a model that gives the adapter's loss without it, in each type", () =>
  inScratch(async (folder) => {
    const given = ["--model", golden(CASE, "model"), "--adapter", `${golden(CASE, "trained")}@0.8`];
    const merged = await Promise.all(
      [
        ["f32", 1e-5],
        ["bf16", 0.1],
        ["f16", 0.02],
      ].map(async ([dtype, limit]) => {
        const out = join(folder, String(dtype));
        const { code, events } = await lowrank("merge", ...given, "--out", out, "--dtype", String(dtype), "--json");
        expect({ code, dtype: events[0]?.["dtype"] }).toEqual({ code: 0, dtype });
        expect(events[0]!["maxAbsDiff"]).toBeLessThan(Number(limit));
        return out;
      }),
    );
    const data = ["--data", golden(CASE, "data.jsonl"), "--json"];
    const [apart, together] = await Promise.all([
      lowrank("eval", ...given, ...data),
      lowrank("eval", "--model", merged[0]!, ...data),
    ]);
    expect(Number(together.events[0]!["loss"])).toBeCloseTo(Number(apart.events[0]!["loss"]), 5);
    const own = await lowrank("merge", ...given, "--out", golden(CASE, "model"));
    expect(own).toMatchObject({ code: 2, stderr: expect.stringContaining("is the model itself") });
  }));

test("adapter info tells the file's facts", async () => {
  const { events } = await lowrank("adapter", "info", golden(CASE, "adapter"), "--json");
  const bytes = readFileSync(golden(CASE, "adapter", "adapter_model.safetensors"));
  expect(events).toEqual([
    {
      type: "LORA",
      r: 4,
      alpha: 8,
      targetModules: ["c_attn"],
      modules: 2,
      parameters: 1024,
      bytes: bytes.length,
      dtype: "f32",
      baseModel: null,
      sha256: createHash("sha256").update(bytes).digest("hex"),
    },
  ]);
});

test("models and doctor answer", async () => {
  const [models, doctor] = await Promise.all([lowrank("models", "--json"), lowrank("doctor", "--json")]);
  expect(models.events[0]).toMatchObject({ methods: expect.arrayContaining(["lora", "full"]) });
  const types = (models.events[0]!["architectures"] as { modelType: string }[]).map(({ modelType }) => modelType);
  expect(types).toEqual(expect.arrayContaining(["gpt2", "llama"]));
  expect(doctor).toMatchObject({
    code: 0,
    events: [{ session: { ok: true }, onnxruntime: expect.stringMatching(/^1\./) }],
  });
});

test("a reader that has seen enough is no error", async () => {
  const run = start([
    "train",
    "--model",
    golden(CASE, "model"),
    "--data",
    golden(CASE, "data.jsonl"),
    "--out",
    "-",
    "--help",
  ]);
  run.process.stdout!.destroy();
  const { code, stderr } = await run.finished;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
});
