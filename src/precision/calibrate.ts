/** Finds the inputs of layers that bytes hold badly as they are, and how large each channel of them usually is. */

import type { Value } from "../graph/graph.ts";
import { mul, scale } from "../graph/ops/arithmetic.ts";
import { largestMagnitude } from "../graph/ops/quantise.ts";
import { reduceMean } from "../graph/ops/reduce.ts";
import { headOf } from "../models/architecture.ts";
import type { Model } from "../models/open.ts";
import { createStream, type Layout, type Stream, streamInputs } from "../models/stream.ts";
import type { ModelTrace } from "../models/trace.ts";
import type { Weights } from "../models/weights.ts";
import type { Runtime } from "../runtime/session.ts";
import type { Task } from "../task.ts";
import { randomStream } from "../tensor/random.ts";
import { dealt, hadamards } from "./spread.ts";

/** An input is spread where dealing out its channels makes the scales of its rows finer so many times, on their average. */
const WORTH = 2;
/** Rows of random tokens: they find the channels as well as text does. */
const ROWS = 4;
const TOKENS = 128;

/** A language model with a task settled. */
export interface Settled {
  readonly model: Model;
  readonly trace: ModelTrace;
  readonly task: Task;
}

/** Root mean square of each channel [K] of the inputs that are to be spread, by the first module that reads one (firstReader). */
export type ChannelSizes = ReadonlyMap<string, Float32Array>;

/** Runs the model in float32 on random tokens, the same every time, and looks at what its linear layers read. */
export async function findUnevenInputs(settled: Settled, runtime: Runtime): Promise<ChannelSizes> {
  const { vocabularySize, maxPositions } = settled.model.config;
  const [B, T] = [ROWS, Math.min(TOKENS, maxPositions ?? TOKENS)];
  const stream = createStream(B, T);
  const { modules, values } = measuredInputs(settled, stream);
  const session = await runtime.open(values, { threads: 1 });
  try {
    const found = await session.run(streamInputs(stream, randomLayout(B, T, vocabularySize)));
    const numbers = (name: string): Float32Array => found.get(name)!.data as Float32Array;
    const uneven = modules.filter((module) => finer(numbers(`${module} largest`), numbers(`${module} dealt`)) >= WORTH);
    return new Map(uneven.map((module) => [module, numbers(`${module} squares`).map(Math.sqrt)]));
  } finally {
    await session.close();
  }
}

/** The first of the modules that read what `module` reads. */
export function firstReader({ siblings }: ModelTrace, module: string): string {
  return siblings.find((names) => names.includes(module))?.[0] ?? module;
}

/** How often each row's largest magnitude is as large as after dealing, on the average of rows that are not all zeros. */
function finer(before: Float32Array, after: Float32Array): number {
  const ratios = [...before].flatMap((each, i) => (each > 0 ? [each / after[i]!] : []));
  return ratios.reduce((sum, each) => sum + each, 0) / ratios.length;
}

interface Measured {
  /** The first readers among the linear layers. */
  readonly modules: readonly string[];
  /** Of what each is given: rows' largest magnitudes, as it is and dealt, and channels' mean squares. */
  readonly values: ReadonlyMap<string, Value>;
}

function measuredInputs({ model, trace, task }: Settled, stream: Stream): Measured {
  const values = new Map<string, Value>();
  const modules: string[] = [];
  const hadamardOf = hadamards();
  const weights = model.weights(stream);
  const recording: Weights = {
    ...weights,
    linear: (module, x, spec) => {
      if (firstReader(trace, module) === module) {
        values.set(`${module} largest`, largestMagnitude(x, -1));
        const H = hadamardOf(spec.in);
        values.set(`${module} dealt`, scale(largestMagnitude(dealt(x, H), -1), 1 / Math.sqrt(H.shape[0]!)));
        values.set(`${module} squares`, reduceMean(mul(x, x), [0]));
        modules.push(module);
      }
      return weights.linear(module, x, spec);
    },
  };
  const { architecture } = model;
  const hidden = architecture.hidden(recording, model.config as never, stream);
  // A head that the checkpoint lacks is not in bytes either. Scores are no output, so that none is computed.
  const whole = [...trace.tensors.keys()].every((name) => model.source.has(name));
  if (whole) headOf(architecture, task)?.logits(recording, model.config as never, hidden);
  return { modules, values };
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
