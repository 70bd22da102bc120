/**
 * A run that is interrupted again and again, by Ctrl-C, SIGTERM and kill -9 at random places, ends in the same bytes.
 * LOWRANK_INTERRUPTS=20 sets how often; the everyday suite does it four times.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { randomStream } from "../../src/tensor/random.ts";
import { golden, inScratch, lowrank, start } from "./lowrank.ts";

const TIMES = Number(process.env["LOWRANK_INTERRUPTS"] ?? 4);
const CASE = "gpt2-c_attn";
const SETTINGS = [
  ...["train", "--model", golden(CASE, "model"), "--data", golden(CASE, "data.jsonl"), "--threads", "1", "--json"],
  // 12 rows, 5 a step in passes of 1: steps end in the middle of epochs, signals in the middle of steps.
  ...[
    "--batch-size",
    "1",
    "--grad-accum",
    "5",
    "--max-steps",
    String(60 * TIMES),
    "--save-steps",
    "7",
    "--save-limit",
    "2",
  ],
  ...["--r", "2", "--dropout", "0.3", "--lr", "1e-3", "--scheduler", "cosine", "--warmup-steps", "5", "--seed", "11"],
  ...["--eval-data", golden(CASE, "data.jsonl"), "--eval-steps", "40", "--divergence-ratio", "0"],
];
const SIGNALS = ["SIGINT", "SIGTERM", "SIGKILL"] as const;

/** Resolves after so many lines of stdout, or at the end. */
function shownLines(run: ReturnType<typeof start>, count: number): Promise<void> {
  return new Promise((resolve) => {
    let seen = 0;
    run.process.stdout!.on("data", (data: Buffer) => {
      seen += data.toString().split("\n").length - 1;
      if (seen >= count) resolve();
    });
    run.process.on("close", () => resolve());
  });
}

test(
  `interrupted ${TIMES} times by Ctrl-C, SIGTERM and kill -9: always resumable, the same bytes at the end`,
  () =>
    inScratch(async (folder) => {
      const [broken, whole] = [join(folder, "broken"), join(folder, "whole")];
      const random = randomStream(Number(process.env["LOWRANK_INTERRUPTS_SEED"] ?? 1));
      let resume: string[] = [];
      for (let time = 0; time < TIMES; time++) {
        const signal = SIGNALS[(time + random.integer(2)) % 3]!;
        const run = start([...SETTINGS, "--out", broken, ...resume]);
        await shownLines(run, 1 + random.integer(25)); // perhaps before the first step
        await delay(random.integer(12)); // into a step, a checkpoint or an evaluation
        run.process.kill(signal);
        const { code, stderr } = await run.finished;
        expect([130, null], `${signal}: ${stderr}`).toContain(code);
        if (signal !== "SIGKILL") expect(code, stderr).toBe(130);
        resume = ["--resume"];
      }
      const resumed = await lowrank(...SETTINGS, "--out", broken, "--resume");
      const straight = await lowrank(...SETTINGS, "--out", whole);
      expect([resumed.code, straight.code], resumed.stderr + straight.stderr).toEqual([0, 0]);
      const bytes = (out: string, name: string): Buffer => readFileSync(join(out, name));
      expect(bytes(broken, "adapter_model.safetensors").equals(bytes(whole, "adapter_model.safetensors"))).toBe(true);
      const history = (out: string): string[] =>
        (JSON.parse(bytes(out, "training.json").toString()) as { history: Record<string, unknown>[] }).history.map(
          ({ seconds: _seconds, tokensPerSecond: _speed, ...numbers }) => JSON.stringify(numbers),
        );
      expect(history(broken)).toEqual(history(whole));
    }),
  60_000 + TIMES * 20_000,
);
