import { expect, test } from "vitest";
import type { RunResult } from "../../src/compare/result.ts";
import { compareReport } from "../../src/report/compare-report.ts";
import { quickstartReport } from "../../src/report/quickstart-report.ts";
import { foldTargets } from "../../src/report/run.ts";
import { trainReport } from "../../src/report/train-report.ts";
import type { TrainEvent } from "../../src/train/events.ts";
import { quickstartInput, stepEvents, trainInput } from "./inputs.ts";
import { nestingErrors, textOf } from "./nesting.ts";

const EVIL = `"><script>alert(1)</script></main>'&`;

function check(document: string): string {
  expect(nestingErrors(document)).toEqual([]);
  expect(document).not.toMatch(/https?:|<script|url\(|@import|\ssrc=/);
  expect(document).not.toContain("undefined");
  return textOf(document);
}

test("a training report shows every number of the run", () => {
  const text = check(trainReport(trainInput(600)));
  for (const shown of [
    "Held-out loss fell from 3.9900 to 2.7878 (−30.1 %) in 600 steps, 3 min 12 s.",
    "3 of 1,234 rows are longer than 1,024 tokens",
    "3.9900 → 2.7878 the weights of step 480 were kept",
    "1,830 tokens per second, median",
    "1.23 GB",
    "0.236 % 294,912 of 124,734,720",
    "2.6789",
    "transformer.h.*.attn.c_attn × 12",
    "480 2.7878 16.2458 0.4900",
    "149,400",
    "ONNX Runtime 1.30.0",
    "adapter_model.safetensors 1.19 MB 1,185,432",
    "My fellow citizens, the year that has passed",
    "runs/speeches",
  ]) {
    expect(text).toContain(shown);
  }
  expect(text.replaceAll(" ", "")).toContain(trainInput(1).command.replaceAll(" ", ""));
});

test("a training report of 20,000 steps stays below 100 kB", () => {
  const document = trainReport(trainInput(20_000));
  check(document);
  expect(document.length).toBeLessThan(100_000);
});

test("a run without held-out rows, of one step, and one of none at all have reports", () => {
  const empty = { ...trainInput(1), environment: [], dataRows: [], samples: [], files: [] };
  expect(check(trainReport({ ...empty, events: stepEvents(1) }))).toContain("Training loss was 3.7500 after 1 step;");
  const text = check(trainReport({ ...empty, events: [] }));
  expect(text).toContain("No step was taken. The run has not reached its end.");
  expect(text).not.toContain("Curves");
});

test("an interrupted run says where it goes on; steps done again after a resume count once", () => {
  const events: TrainEvent[] = [
    ...stepEvents(4),
    ...stepEvents(3),
    { event: "interrupted", step: 4, path: "runs/a/checkpoint-4" },
  ];
  const text = check(trainReport({ ...trainInput(1), events }));
  expect(text).toContain("interrupted at step 4; --resume goes on from runs/a/checkpoint-4.");
  expect(text).toContain("after 4 steps");
});

test("losses that are not finite are named, not drawn", () => {
  const events = trainInput(100).events.map((event) =>
    (event.event === "step" && event.step > 90) || (event.event === "eval" && event.step === 80)
      ? { ...event, loss: Number.NaN }
      : event,
  );
  const text = check(trainReport({ ...trainInput(100), events }));
  expect(text).toContain("went from 3.9900 to NaN (–)");
  expect(text).toContain("11 values not finite, left as gaps");
});

test("what models and files say cannot become markup", () => {
  const input = trainInput(3);
  const sample = { prompt: EVIL, text: EVIL.repeat(1000) };
  const train = check(
    trainReport({
      title: EVIL,
      command: EVIL,
      events: [...input.events, { event: "warning", message: EVIL }, { event: "eval", step: 9, loss: 1, [EVIL]: EVIL }],
      environment: [[EVIL, EVIL]],
      dataRows: [[EVIL, EVIL]],
      samples: [sample],
      files: [[EVIL, 1]],
    }),
  );
  expect(train).toContain("more characters)");
  const quick = quickstartInput();
  check(
    quickstartReport({
      base: { ...quick.base, name: EVIL },
      adapters: quick.adapters.map((adapter) => ({ ...adapter, name: EVIL, description: EVIL, path: EVIL })),
      samples: [{ prompt: EVIL, outputs: [{ label: EVIL, text: EVIL }] }],
      facts: [[EVIL, EVIL]],
      next: [EVIL],
    }),
  );
});

test("the quickstart's report shows every number, sample and command", () => {
  const document = quickstartReport(quickstartInput());
  const text = check(document);
  for (const shown of [
    "2 LoRA adapters learned from real text on embedded:base (5.32 M parameters) in 42.7 s; loss on text held out from training fell by 30.5 % for factbook and 19.5 % for psalms.",
    "4.8123 3.3456 −30.5 % 21.4 s",
    "4.4321 3.5678 −19.5 % 21.4 s",
    "embedded:base 5,319,168 10.6 MB 100 %",
    "98,304 398 kB 3.74 %",
    "1.81 % of 5,417,472",
    "factbook 0.42 ms 3.81e−6",
    "blend 0.5 + 0.5",
    "a landlocked country",
    "runs/quickstart/psalms",
    "npx lowrank train --model embedded:base --data your.jsonl --out runs/mine",
  ]) {
    expect(text.replace(/\s+/g, " ").replaceAll("- -", "--")).toContain(shown);
  }
  expect(document.length).toBeLessThan(50_000);
});

test("the quickstart's report stands without curves, samples and merge", () => {
  const input = quickstartInput();
  const adapters = input.adapters.map((adapter, i) => ({
    ...adapter,
    curve: [],
    evalCurve: i === 0 ? [] : [{ step: 0, loss: 3 }],
    evalLossAfter: 5,
    mergeMaxAbsDiff: null,
    switchMs: null,
  }));
  const text = check(quickstartReport({ ...input, adapters, samples: [], facts: [], next: [] }));
  expect(text).toContain("changed by +3.9 % for factbook and +12.8 % for psalms");
  expect(text).toContain("factbook not measured not merged");
  expect(text).not.toContain("The same prompt");
});

test("module names fold their numbers", () => {
  expect(foldTargets(["h.0.attn.c_attn", "h.11.attn.c_attn", "lm_head"])).toBe("h.*.attn.c_attn × 2, lm_head");
});

test("a comparison tells the spread over seeds, and that one seed has none", () => {
  const run: RunResult = {
    task: "prose",
    method: "full",
    seed: 0,
    rows: null,
    lr: 0.001,
    metric: "loss",
    quality: 2,
    heldOut: 2,
    trainableParameters: 10,
    totalParameters: 10,
    steps: 1,
    seconds: 1,
    tokensPerSecond: 1,
    peakMemoryBytes: 1,
    fileBytes: 1,
    out: "runs/full",
  };
  const results = [run, { ...run, seed: 1, quality: 3 }, { ...run, method: "lora" }];
  const text = check(compareReport({ model: EVIL, results, failures: [] }, "lowrank compare"));
  expect(text).toContain("0.7071 (2)");
  expect(text).toContain("– (1)");
});
