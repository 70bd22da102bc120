/** Inputs of reports as real runs give them, without randomness. */

import type { QuickstartAdapter, QuickstartReportInput } from "../../src/report/quickstart-report.ts";
import type { TrainReportInput } from "../../src/report/train-report.ts";
import type { StepEvent, TrainEvent } from "../../src/train/events.ts";

/** Between -1 and 1, scattered, the same for the same `i`. */
function noise(i: number): number {
  const x = Math.sin(i * 12.9898) * 43758.5453;
  return 2 * (x - Math.floor(x)) - 1;
}

export function stepEvents(steps: number): StepEvent[] {
  return Array.from({ length: steps }, (_, i) => ({
    event: "step",
    step: i + 1,
    loss: 2.6 + 1.4 * Math.exp((-3 * i) / steps) + 0.25 * noise(i),
    gradNorm: 0.8 + 0.4 * noise(i + 7) + 2 * Math.exp((-20 * i) / steps),
    learningRate: 2e-4 * Math.min(1, (i + 1) / (0.1 * steps)) * 0.5 * (1 + Math.cos((Math.PI * i) / steps)),
    tokens: 512,
    targetTokens: 498,
    tokensPerSecond: 1830 + 90 * noise(i + 3),
    seconds: 0.28,
  }));
}

export function trainEvents(steps: number): TrainEvent[] {
  const evals: TrainEvent[] = Array.from({ length: 11 }, (_, i) => {
    const loss = 2.71 + 1.28 * Math.exp(-0.35 * i) + (i > 8 ? 0.02 * (i - 8) : 0);
    return {
      event: "eval",
      step: Math.round((i * steps) / 10),
      loss,
      perplexity: Math.exp(loss),
      accuracy: 0.41 + i / 100,
    };
  });
  return [
    {
      event: "start",
      trainableParameters: 294_912,
      totalParameters: 124_734_720,
      targets: Array.from({ length: 12 }, (_, i) => [
        `transformer.h.${i}.attn.c_attn`,
        `transformer.h.${i}.mlp.c_fc`,
      ]).flat(),
      rows: 1234,
      targetTokens: 149_400,
      truncatedRows: 3,
      steps,
      task: "causal-lm",
      precision: "fp32",
      threads: 2,
      evalData: null,
      data: {
        format: "text",
        task: "causal-lm",
        rows: 1,
        tokens: 1,
        targetTokens: 1,
        targetShare: 1,
        truncatedRows: 0,
        droppedRows: 0,
        longestRow: { line: 1, tokens: 1 },
        sample: { line: 1, tokens: [], more: 1 },
        doubts: [],
      },
    },
    ...evals.slice(0, 1),
    ...stepEvents(steps),
    ...evals.slice(1),
    { event: "warning", message: "3 of 1,234 rows are longer than 1,024 tokens and were cut on the right." },
    {
      event: "done",
      out: "runs/speeches",
      steps,
      loss: 2.6789,
      bestStep: Math.round(0.8 * steps),
      seconds: 192.4,
      tokensPerSecond: 1829.5,
      peakMemoryBytes: 1_234_567_890,
    },
  ];
}

export function trainInput(steps: number): TrainReportInput {
  return {
    title: "speeches on gpt2",
    command:
      "npx lowrank train --model models/gpt2 --data speeches.jsonl --eval-data speeches.held-out.jsonl --out runs/speeches --r 8 --alpha 16 --lr 2e-4 --scheduler cosine --max-steps 600",
    events: trainEvents(steps),
    environment: [
      ["lowrank", "0.1.0"],
      ["Node", "20.20.2"],
      ["ONNX Runtime", "1.30.0"],
      ["Processor", "2 cores, 8 GB"],
    ],
    dataRows: [
      ["File", "speeches.jsonl"],
      ["SHA-256", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
      ["Rows", 1234],
      ["Target tokens", 149_400],
      ["Truncated rows", 3],
    ],
    samples: [
      { prompt: "My fellow citizens,", text: " the of and to the the in", step: 0 },
      {
        prompt: "My fellow citizens,",
        text: " the year that has passed has been one of labor and of peace.\n\nWe have kept faith with every nation; we ask of them no more than justice.",
        step: 600,
      },
    ],
    files: [
      ["adapter_config.json", 812],
      ["adapter_model.safetensors", 1_185_432],
    ],
  };
}

function adapter(name: string, description: string, before: number, after: number): QuickstartAdapter {
  const steps = 120;
  return {
    name,
    description,
    path: `runs/quickstart/${name}`,
    evalLossBefore: before,
    evalLossAfter: after,
    trainableParameters: 98_304,
    totalParameters: 5_417_472,
    adapterBytes: 397_512,
    seconds: 21.37,
    mergeMaxAbsDiff: 3.81e-6,
    switchMs: 0.42,
    curve: stepEvents(steps).map(({ step, loss }) => ({ step, loss: loss + after - 2.6 })),
    evalCurve: Array.from({ length: 7 }, (_, i) => ({
      step: 20 * i,
      loss: after + (before - after) * ((6 - i) / 6) ** 2,
    })),
  };
}

export function quickstartInput(): QuickstartReportInput {
  const texts: readonly (readonly [string, string])[] = [
    ["base", " a man of the sea, and the captain of the ship was standing on the deck with his hand upon the wheel."],
    [
      "factbook",
      " a landlocked country with an area of 1,246 sq km; its climate is temperate, with mild, wet winters.",
    ],
    ["psalms", " a light unto the path of them that walk in sorrow, and their voice shall be heard among the hills."],
    [
      "blend 0.5 + 0.5",
      " a land of mountains, whose people dwell beside the rivers; the summers are hot and the winters mild.",
    ],
  ];
  return {
    base: { name: "embedded:base", parameters: 5_319_168, bytes: 10_638_592 },
    adapters: [
      adapter("factbook", "Descriptions of countries, CIA World Factbook", 4.8123, 3.3456),
      adapter("psalms", "Verses of the King James Bible", 4.4321, 3.5678),
    ],
    samples: ["The country is", "In the morning we saw"].map((prompt) => ({
      prompt,
      outputs: texts.map(([label, text]) => ({ label, text })),
    })),
    facts: [
      ["Machine", "2 cores, 8 GB, Linux x64"],
      ["lowrank", "0.1.0"],
      ["Seed", 0],
    ],
    next: [
      "npx lowrank train --model embedded:base --data your.jsonl --out runs/mine",
      'npx lowrank generate --model embedded:base --adapter runs/mine --prompt "Dear"',
    ],
  };
}
