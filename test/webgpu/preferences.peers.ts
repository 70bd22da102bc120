/** Preference losses on WebGPU against TRL: they read scores back, weigh rows on the host, and train on the device. */

import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, expect, test } from "vitest";
import { runtimeOn } from "../../src/runtime/devices.ts";
import type { StepEvent } from "../../src/train/events.ts";
import type { PreferenceLoss } from "../../src/train/preference.ts";
import { trainHere } from "../../src/train/train.ts";
import { caseFolder } from "../goldens/harness.ts";
import { noDriver } from "./driver.ts";

const here = join(import.meta.dirname, "../train/preferences");
const scratch = mkdtempSync(join(tmpdir(), "lowrank-webgpu-"));
afterAll(() => rmSync(scratch, { recursive: true }));
beforeEach(({ skip }) => skip(noDriver !== null, noDriver ?? ""));

const cases = JSON.parse(readFileSync(join(here, "expected.json"), "utf8")) as {
  readonly name: PreferenceLoss;
  readonly start: string;
  readonly steps: readonly { readonly loss: number; readonly grad_norm: number }[];
}[];

test.each(cases.map((each) => [`${each.name}, adapter ${each.start}`, each] as const))(
  "%s: losses and gradient norms are TRL's",
  async (_, { name, start, steps }) => {
    const model = join(scratch, "model");
    cpSync(join(caseFolder("llama-gqa-tied"), "model"), model, { recursive: true });
    cpSync(join(here, "tokenizer"), model, { recursive: true });
    const input = {
      model,
      data: join(here, name === "kto" ? "judged.jsonl" : "pairs.jsonl"),
      out: join(scratch, `${name}-${start}`),
      initAdapter: join(here, start),
      loss: name,
      beta: 0.3,
      ...(name === "kto" ? { desirableWeight: 1.5, undesirableWeight: 0.75 } : {}),
      batchSize: 3,
      maxSteps: 4,
      lr: 5e-3,
      scheduler: "constant",
      shuffle: false,
      device: "webgpu",
    } as const;
    const found: StepEvent[] = [];
    for await (const event of trainHere(input, { runtime: runtimeOn("webgpu") }))
      if (event.event === "step") found.push(event);
    expect(found.length).toBe(steps.length);
    steps.forEach(({ loss, grad_norm }, i) => {
      expect(Math.abs(found[i]!.loss / loss - 1), `loss of step ${i + 1}`).toBeLessThan(2e-5);
      expect(Math.abs(found[i]!.gradNorm / grad_norm - 1), `norm of step ${i + 1}`).toBeLessThan(1e-4);
    });
  },
);
