/** The quickstart's work on one adapter: training, and what switching to it costs. */

import { statSync } from "node:fs";
import { join } from "node:path";
import type { Adapter } from "../../adapters/adapter.ts";
import { adapterSets } from "../../generate/adapter-set.ts";
import type { Model } from "../../models/open.ts";
import type { QuickstartAdapter } from "../../report/quickstart-report.ts";
import { train } from "../../train/start.ts";
import type { Output } from "../output.ts";
import { BASE, dataFile, type Lesson, SETTINGS } from "./lessons.ts";

/** An adapter and how its training went; merging and switching come later. */
export type Lived = Omit<QuickstartAdapter, "mergeMaxAbsDiff" | "switchMs">;

interface Place {
  readonly out: string;
  readonly threads: number;
  readonly output: Output;
}

/** Trains one adapter, showing its progress; the result is measured on rows that training never sees. */
export async function trainLesson(lesson: Lesson, { out, threads, output }: Place): Promise<Lived> {
  const path = join(out, lesson.name);
  const run = train({
    ...SETTINGS,
    model: BASE,
    data: dataFile(lesson, "train"),
    evalData: dataFile(lesson, "valid"),
    out: path,
    maxSteps: lesson.steps,
    evalSteps: lesson.steps,
    threads,
  });
  const curve: { step: number; loss: number }[] = [];
  const evalCurve: { step: number; loss: number }[] = [];
  let facts = { trainableParameters: 0, totalParameters: 0, seconds: 0 };
  for await (const event of run) {
    if (event.event === "start") facts = { ...facts, ...pick(event) };
    if (event.event === "done") facts = { ...facts, seconds: event.seconds };
    if (event.event === "eval") evalCurve.push({ step: event.step, loss: event.loss });
    if (event.event === "step") {
      curve.push({ step: event.step, loss: event.loss });
      output.progress(
        `${lesson.name}  step ${event.step}/${lesson.steps}  loss ${event.loss.toFixed(3)}  ${Math.round(event.tokensPerSecond)} tokens/s`,
      );
    }
  }
  const [before, after] = [evalCurve[0]!.loss, evalCurve.at(-1)!.loss];
  const adapterBytes = statSync(join(path, "adapter_model.safetensors")).size;
  output.line(
    `${lesson.name.padEnd(12)} ${lesson.description}\n${"".padEnd(12)} held-out loss ${before.toFixed(3)} -> ${after.toFixed(3)} (${(100 * (after / before - 1)).toFixed(0)} %) ` +
      `in ${facts.seconds.toFixed(0)} s; ${(adapterBytes / 1000).toFixed(0)} kB in ${path}`,
  );
  const { name, description } = lesson;
  return {
    name,
    description,
    path,
    evalLossBefore: before,
    evalLossAfter: after,
    adapterBytes,
    ...facts,
    curve,
    evalCurve,
  };
}

/** Milliseconds to make an adapter the active one of a loaded base: the median of several switches. */
export function measureSwitch(model: Model, adapter: Adapter): number {
  const setOf = adapterSets(model);
  const times = Array.from({ length: 9 }, () => {
    setOf([]);
    const begun = performance.now();
    setOf([[adapter, 1]]);
    return performance.now() - begun;
  });
  return times.toSorted((a, b) => a - b)[4]!;
}

function pick({ trainableParameters, totalParameters }: { trainableParameters: number; totalParameters: number }): {
  trainableParameters: number;
  totalParameters: number;
} {
  return { trainableParameters, totalParameters };
}
