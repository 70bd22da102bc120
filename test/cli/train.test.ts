/** `lowrank train` from outside: PEFT's numbers, exact resuming, interruption, and options. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { golden, inScratch, lines, lowrank, readJson, shown, start, tensorsOf } from "./lowrank.ts";

const CASE = "gpt2-c_attn";
const common = ["--model", golden(CASE, "model"), "--data", golden(CASE, "data.jsonl"), "--threads", "1", "--json"];
const weights = (out: string): Buffer => readFileSync(join(out, "adapter_model.safetensors"));

describe("golden cases through the command line", () => {
  test.each(["gpt2-c_attn", "gpt2-all-linear-rslora", "llama-gqa-tied", "llama-untied-patterns"])(
    "%s: six steps follow PEFT's losses, gradient norms and weights",
    (name) =>
      inScratch(async (out) => {
        const settings =
          "--batch-size 2 --max-steps 6 --lr 5e-3 --scheduler constant --warmup-steps 0 --weight-decay 0.01 --max-grad-norm 1 --no-shuffle --precision fp32 --seed 0 --json";
        const { code, events } = await lowrank(
          "train",
          ...["--model", golden(name, "model"), "--init-adapter", golden(name, "adapter")],
          ...["--data", golden(name, "data.jsonl"), "--out", out, ...settings.split(" ")],
        );
        expect(code).toBe(0);
        expect(events.map(({ event }) => event)).toEqual(["start", ...Array.from({ length: 6 }, () => "step"), "done"]);
        const wanted = readJson(golden(name, "case.json")) as unknown as {
          losses: number[];
          grad_norms: number[];
          trainable: number;
        };
        expect(events[0]).toMatchObject({ trainableParameters: wanted.trainable, rows: 12, precision: "fp32" });
        events.slice(1, -1).forEach((event, i) => {
          expect(Math.abs(Number(event["loss"]) / wanted.losses[i]! - 1)).toBeLessThan(2e-5);
          expect(Math.abs(Number(event["gradNorm"]) / wanted.grad_norms[i]! - 1)).toBeLessThan(1e-4);
        });
        const [ours, trained, before] = [out, golden(name, "trained"), golden(name, "adapter")].map((folder) =>
          tensorsOf(join(folder, "adapter_model.safetensors")),
        );
        for (const [key, theirs] of trained!) {
          if (!ours!.has(key)) continue; // copies of the base that PEFT adds
          let [error, moved] = [0, 0];
          theirs.forEach((value, i) => {
            error += (ours!.get(key)![i]! - value) ** 2;
            moved += (value - before!.get(key)![i]!) ** 2;
          });
          expect(Math.sqrt(error), key).toBeLessThanOrEqual(2e-3 * Math.sqrt(moved));
        }
      }),
  );
});

describe("resuming", () => {
  const settings = [
    ...common,
    ...[
      "--batch-size",
      "1",
      "--grad-accum",
      "2",
      "--r",
      "2",
      "--dropout",
      "0.3",
      "--lr",
      "1e-2",
      "--scheduler",
      "cosine",
    ],
    ...["--warmup-steps", "3", "--max-steps", "150", "--save-steps", "5", "--eval-data", golden(CASE, "data.jsonl")],
    ...["--eval-steps", "50", "--seed", "11"],
  ];

  test("N steps are k steps, kill -9, --resume: bit for bit, dropout and best weights included", () =>
    inScratch(async (folder) => {
      const [whole, broken] = [join(folder, "whole"), join(folder, "broken")];
      const run = start(["train", ...settings, "--out", broken]);
      await shown(run, '"event":"checkpoint","step":10,');
      run.process.kill("SIGKILL");
      await run.finished;
      expect(existsSync(join(broken, "adapter_model.safetensors"))).toBe(false);
      const resumed = await lowrank("train", ...settings, "--out", broken, "--resume");
      expect(resumed.events[0]).toHaveProperty("resumedFrom");
      const straight = await lowrank("train", ...settings, "--out", whole);
      expect([resumed.code, straight.code]).toEqual([0, 0]);
      expect(weights(broken).equals(weights(whole))).toBe(true);
      const last = (events: typeof resumed.events): unknown =>
        events.findLast(({ event }) => event === "step")!["loss"];
      expect(last(resumed.events)).toBe(last(straight.events));
    }));

  test("Ctrl-C saves a checkpoint, names the command that goes on, and ends with 130", () =>
    inScratch(async (folder) => {
      const [whole, broken] = [join(folder, "whole"), join(folder, "broken")];
      const args = [...settings.slice(0, -2), "--save-steps", "1000"];
      const run = start(["train", ...args, "--out", broken]);
      await shown(run, '"event":"step","step":3,');
      run.process.kill("SIGINT");
      const { code, events, stderr } = await run.finished;
      expect(code).toBe(130);
      expect(events.slice(-2).map(({ event }) => event)).toEqual(["checkpoint", "interrupted"]);
      expect(stderr).toContain("--resume");
      expect((await lowrank("train", ...args, "--out", broken, "--resume")).code).toBe(0);
      expect((await lowrank("train", ...args, "--out", whole)).code).toBe(0);
      expect(weights(broken).equals(weights(whole))).toBe(true);
    }));

  test("other options are refused by name; more steps are not, fewer are", () =>
    inScratch(async (folder) => {
      const out = join(folder, "run");
      const args = (...more: string[]): string[] => ["train", ...common, "--out", out, "--batch-size", "4", ...more];
      expect((await lowrank(...args("--max-steps", "3", "--save-steps", "2"))).code).toBe(0);
      const again = await lowrank(...args("--max-steps", "3"));
      expect(again).toMatchObject({ code: 1, events: [{ message: expect.stringContaining("--resume") }] });
      const changed = await lowrank(...args("--max-steps", "3", "--lr", "1", "--seed", "4", "--resume"));
      expect(changed.code).toBe(2);
      expect(changed.events[0]!["message"]).toMatch(/lr: was null, is 1\n.*seed: was 0, is 4/);
      const fewer = await lowrank(...args("--max-steps", "2", "--resume"));
      expect(fewer).toMatchObject({ code: 2, events: [{ message: expect.stringContaining("may only grow") }] });
      const longer = await lowrank(...args("--max-steps", "5", "--resume"));
      expect(longer.code).toBe(0);
      expect(longer.events.map(({ event }) => event)).toEqual(["start", "warning", "step", "step", "done"]);
    }));
});

test("the same seed gives the same bytes, another seed others", () =>
  inScratch(async (folder) => {
    const bytes = await Promise.all(
      ["1", "1", "2"].map(async (seed, i) => {
        const out = join(folder, String(i));
        await lowrank("train", ...common, "--max-steps", "4", "--dropout", "0.1", "--seed", seed, "--out", out);
        return weights(out);
      }),
    );
    expect(bytes[0]!.equals(bytes[1]!)).toBe(true);
    expect(bytes[0]!.equals(bytes[2]!)).toBe(false);
  }));

test("four rows at once and four times one row are one step", () =>
  inScratch(async (folder) => {
    const run = async (batch: string, accum: string) => {
      const out = join(folder, batch);
      const args = ["--batch-size", batch, "--grad-accum", accum, "--max-steps", "3", "--lr", "1e-2", "--out", out];
      const { events } = await lowrank("train", ...common, ...args);
      return {
        steps: events.filter(({ event }) => event === "step"),
        tensors: tensorsOf(join(out, "adapter_model.safetensors")),
      };
    };
    const [whole, parts] = await Promise.all([run("4", "1"), run("1", "4")]);
    whole.steps.forEach((step, i) => {
      expect(parts.steps[i]!["targetTokens"]).toBe(step["targetTokens"]);
      for (const name of ["loss", "gradNorm"]) {
        expect(Math.abs(Number(parts.steps[i]![name]) / Number(step[name]) - 1)).toBeLessThan(2e-6);
      }
    });
    for (const [key, values] of whole.tensors) {
      values.forEach((value, i) => {
        expect(Math.abs(parts.tensors.get(key)![i]! - value)).toBeLessThan(2e-5);
      });
    }
  }));

test("--method full writes a model that eval takes, better than it was", () =>
  inScratch(async (folder) => {
    const out = join(folder, "full");
    const run = await lowrank("train", ...common, "--method", "full", "--epochs", "4", "--lr", "5e-3", "--out", out);
    expect(run.code).toBe(0);
    expect(run.events[0]!["trainableParameters"]).toBe(run.events[0]!["totalParameters"]);
    const loss = async (model: string): Promise<number> => {
      const { events } = await lowrank("eval", "--model", model, "--data", golden(CASE, "data.jsonl"), "--json");
      return Number(events[0]!["loss"]);
    };
    expect(await loss(out)).toBeLessThan((await loss(golden(CASE, "model"))) - 0.2);
  }));

test("options come from a file too, flags win, and unknown names are refused", () =>
  inScratch(async (folder) => {
    const config = lines(folder, "train.yaml", [
      `model: ${golden(CASE, "model")}`,
      `data: ${golden(CASE, "data.jsonl")}`,
      "maxSteps: 3",
      "r: 2",
      "noShuffle: true",
      "targetModules: [c_attn, mlp.c_fc]",
    ]);
    const out = join(folder, "out");
    const { code, events } = await lowrank("train", "--config", config, "--max-steps", "2", "--out", out, "--json");
    expect(code).toBe(0);
    expect(events[0]).toMatchObject({ steps: 2 });
    expect(readJson(join(out, "adapter_config.json"))).toMatchObject({ r: 2, target_modules: ["c_attn", "mlp.c_fc"] });
    expect(readJson(join(out, "training.json"))).toMatchObject({ options: { shuffle: false } });
    const wrong = lines(folder, "wrong.json", ['{"maxStep": 3}']);
    const refused = await lowrank("train", "--config", wrong, "--json");
    expect(refused).toMatchObject({
      code: 2,
      events: [{ event: "error", message: expect.stringContaining("Did you mean maxSteps?") }],
    });
  }));
