/**
 * Channels of layers' inputs that are far larger than the others, whatever the text: gains of norms and the products of
 * gated MLPs make such. One scale a row would round all the rest to nothing, so these few are multiplied in float32
 * (Dettmers et al. 2022, "LLM.int8()", arXiv 2208.07339; looked for in each batch there, once for each base here).
 */

import type { Value } from "../graph/graph.ts";
import { largestMagnitude } from "../graph/ops/quantise.ts";
import { headOf } from "../models/architecture.ts";
import type { Model } from "../models/open.ts";
import { createStream, type Layout, type Stream, streamInputs } from "../models/stream.ts";
import type { ModelTrace } from "../models/trace.ts";
import type { Weights } from "../models/weights.ts";
import type { Runtime } from "../runtime/session.ts";
import type { Task } from "../task.ts";
import { randomStream } from "../tensor/random.ts";

/** Channels that are taken out of an input of K: few beside the rest. */
const channelsOf = (K: number): number => Math.min(96, Math.floor(K / 16));
/** How often the largest must be as large as what is left, for the scale to get finer by more than it costs: docs/evidence.md. */
const WORTH = 3;
/** Rows of random tokens: they find the channels as well as text does. */
const ROWS = 4;
const TOKENS = 128;

/** A language model with a task settled. */
export interface Settled {
  readonly model: Model;
  readonly trace: ModelTrace;
  readonly task: Task;
}

/** The largest channels of each input, ascending, by the first module that reads it (firstReader). */
export type Outliers = ReadonlyMap<string, readonly number[]>;

/** Runs the model in float32 on random tokens, the same every time, and looks at what its linear layers read. */
export async function findOutliers(settled: Settled, runtime: Runtime): Promise<Outliers> {
  if (!isGated(settled)) return new Map();
  const { vocabularySize, maxPositions } = settled.model.config;
  const [B, T] = [ROWS, Math.min(TOKENS, maxPositions ?? TOKENS)];
  const stream = createStream(B, T);
  const session = await runtime.open(largestInputs(settled, stream), { threads: 1 });
  try {
    const largest = await session.run(streamInputs(stream, randomLayout(B, T, vocabularySize)));
    return new Map([...largest].map(([module, { data }]) => [module, outliersAmong(data as Float32Array)]));
  } finally {
    await session.close();
  }
}

/**
 * Whether the MLPs are gated, as those of Llama and its relatives: their last layers alone are wide inside and have no
 * bias. Others (GPT-2, BERT) lose less by bytes, and would pay for outliers with each step.
 */
function isGated({ model, trace }: Settled): boolean {
  const { hiddenSize } = model.config;
  return [...trace.modules.values()].some(({ kind, spec }) => kind === "linear" && !spec.bias && spec.in > hiddenSize);
}

/** The first of the modules that read what `module` reads. */
export function firstReader({ siblings }: ModelTrace, module: string): string {
  return siblings.find((names) => names.includes(module))?.[0] ?? module;
}

/** Each channel's largest magnitude [K] in what the first readers among the model's linear layers are given. */
function largestInputs({ model, trace, task }: Settled, stream: Stream): Map<string, Value> {
  const largest = new Map<string, Value>();
  const weights = model.weights(stream);
  const recording: Weights = {
    ...weights,
    linear: (module, x, spec) => {
      if (firstReader(trace, module) === module) {
        largest.set(module, largestMagnitude(x, 0));
      }
      return weights.linear(module, x, spec);
    },
  };
  const { architecture } = model;
  const hidden = architecture.hidden(recording, model.config as never, stream);
  // A head that the checkpoint lacks is not in bytes either. Scores are no output, so that none is computed.
  const whole = [...trace.tensors.keys()].every((name) => model.source.has(name));
  if (whole) headOf(architecture, task)?.logits(recording, model.config as never, hidden);
  return largest;
}

/** B rows of T tokens, each of any id alike. */
function randomLayout(B: number, T: number, vocabularySize: number): Layout {
  const random = randomStream(0, 0x0071e5);
  const line = (of: (i: number) => number): Int32Array => Int32Array.from({ length: B * T }, (_, i) => of(i));
  return {
    B,
    T,
    ids: line(() => random.integer(vocabularySize)),
    positions: line((i) => i % T),
    segments: line((i) => Math.floor(i / T)),
    typeIds: line(() => 0),
    virtual: line(() => 0),
    longest: T,
    draw: 0,
  };
}

/** The channels to take out, ascending, of their largest magnitudes [K]; none where that would not make the scale finer. */
function outliersAmong(largest: Float32Array): number[] {
  const order = [...largest.keys()].toSorted((a, b) => largest[b]! - largest[a]! || a - b);
  const count = channelsOf(largest.length);
  const gained = largest[order[0]!]! >= WORTH * largest[order[count]!]!;
  return gained ? order.slice(0, count).toSorted((a, b) => a - b) : [];
}
