import { expect, test } from "vitest";
import { nodeRuntime } from "../../src/runtime/node.ts";
import type { Runtime, Session } from "../../src/runtime/session.ts";
import type { TrainInput } from "../../src/train/options.ts";
import { inFolder, rowsFile, run, type Trained, UNEVEN } from "./runs.ts";

const SETTINGS: Partial<TrainInput> = { maxSteps: 5, lr: 1e-2, batchSize: 4, weightDecay: 0.01, seed: 3 };

/** Steps alike in loss, gradient norm and counts; weights alike within rounding. */
function expectSame(one: Trained, other: Trained): void {
  expect(other.steps).toHaveLength(one.steps.length);
  one.steps.forEach((step, i) => {
    const twin = other.steps[i]!;
    expect([twin.tokens, twin.targetTokens]).toEqual([step.tokens, step.targetTokens]);
    expect(Math.abs(twin.loss / step.loss - 1), `loss of step ${i + 1}`).toBeLessThan(3e-6);
    expect(Math.abs(twin.gradNorm / step.gradNorm - 1), `norm of step ${i + 1}`).toBeLessThan(1e-5);
  });
  for (const [key, values] of one.weights) {
    const theirs = other.weights.get(key)!;
    const worst = values.reduce((most, value, i) => Math.max(most, Math.abs(value - theirs[i]!)), 0);
    expect(worst, key).toBeLessThan(5e-5);
  }
}

test("one step of 4 passes is one step of 4 rows, with very uneven rows: loss, gradient norm and weights", () =>
  inFolder(async (folder) => {
    const whole = await run(folder, "whole", SETTINGS);
    const parts = await run(folder, "parts", { ...SETTINGS, batchSize: 1, gradAccum: 4 });
    const pairs = await run(folder, "pairs", { ...SETTINGS, batchSize: 2, gradAccum: 2 });
    expectSame(whole, parts);
    expectSame(whole, pairs);
  }));

test("packing and token budgets change no loss, no gradient and no weight", () =>
  inFolder(async (folder) => {
    const off = await run(folder, "off", { ...SETTINGS, packing: "off" });
    for (const packing of ["on", "auto"] as const)
      expectSame(off, await run(folder, packing, { ...SETTINGS, packing }));
    expectSame(off, await run(folder, "budget", { ...SETTINGS, tokensPerBatch: 64 }));
  }));

test("steps and evaluations take turns: no two sessions are open at once, and no number changes", () =>
  inFolder(async (folder) => {
    let [open, most] = [0, 0];
    const counted = async <S extends Session | null>(opening: Promise<S>): Promise<S> => {
      const session = await opening;
      most = Math.max(most, ++open);
      if (!session) open--;
      return session && { ...session, close: () => session.close().then(() => void open--) };
    };
    const runtime: Runtime = {
      ...nodeRuntime,
      open: (...given) => counted(nodeRuntime.open(...given)),
      openSized: (...given) => counted(nodeRuntime.openSized(...given)),
    };
    const evalData = rowsFile(folder, UNEVEN.slice(0, 3), "held.jsonl");
    const settings = { ...SETTINGS, evalData, evalSteps: 2 };
    const resting = await run(folder, "resting", settings, { runtime });
    expect(resting.evals.map(({ step }) => step)).toEqual([0, 2, 4, 5]);
    expect(most).toBe(1);
    expect(open).toBe(0);
    expectSame(await run(folder, "plain", SETTINGS), resting);
  }));
