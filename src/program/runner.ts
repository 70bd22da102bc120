/** Runs programs on batches of any shape. */

import { queryParts } from "../models/stream.ts";
import type { Runtime, SessionOptions } from "../runtime/session.ts";
import type { Sizes } from "../runtime/sized.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Batch, batchInputs } from "./batch.ts";
import type { ProgramShape } from "./layout.ts";
import type { Program } from "./program.ts";
import { createSessions, type Sessions } from "./sessions.ts";

export interface Runner {
  /** Runs the batch with the adapters' tensors by input name. */
  run(batch: Batch, tensors: ReadonlyMap<string, Tensor>, draw?: number): Promise<ReadonlyMap<string, Tensor>>;
  close(): Promise<void>;
}

export interface RunnerOptions {
  readonly runtime: Runtime;
  readonly session: SessionOptions;
  build(shape: ProgramShape): Program;
}

/** B streams of 16·t tokens, k chunks of m rows of the head each: the lengths that layouts choose are multiples of 16. */
const MONOMIALS = [["B"], ["t"], ["m"], ["k"], ["B", "t"], ["m", "k"]] as const;
const UNIT = 16;

/** Streams to fit by, in t, for each number of parts that attention takes their queries in. */
const PROBE_LENGTHS = [
  [11, 13, 7],
  [37, 41, 43],
  [131, 137, 139],
] as const;

/** Sizes to fit by. Mostly primes, so that no two extents are alike by chance. */
function probesFor(T: number): readonly Sizes[] {
  const [a, b, c] = PROBE_LENGTHS.find(([t]) => queryParts(t * UNIT) === queryParts(T))!;
  return [
    { B: 2, t: a, m: 11, k: 2 },
    { B: 3, t: b, m: 17, k: 3 },
    { B: 7, t: c, m: 13, k: 5 },
  ];
}

export function createRunner({ runtime, session, build }: RunnerOptions): Runner {
  // Parts of attention are unrolled, and on a device chunks of the head: each number of them is a graph.
  const byGraph = new Map<string, Sessions>();
  const loops = !runtime.memory;

  const sessionsFor = ({ T, chunks }: ProgramShape): Sessions => {
    const key = `${loops ? "" : chunks} ${queryParts(T)}`;
    const held = byGraph.get(key);
    if (held) return held;
    const sessions = createSessions({
      runtime,
      // Each session has packed copies of its own.
      session: { ...session, prepack: session.prepack === true && byGraph.size === 0 },
      probes: probesFor(T).map((sizes) => (loops ? sizes : { ...sizes, k: chunks })),
      monomials: MONOMIALS,
      build: ({ B = 0, t = 0, m = 0, k = 0 }) => build({ B, T: t * UNIT, M: m * k, chunks: k, loops }),
    });
    byGraph.set(key, sessions);
    return sessions;
  };

  return {
    run: (batch, tensors, draw = 0) => {
      const { B, T, M, chunks } = batch.shape;
      return sessionsFor(batch.shape).run(
        { B, t: T / UNIT, m: M / chunks, k: chunks },
        (program) => new Map([...batchInputs(program, batch, draw), ...tensors]),
      );
    },
    close: async () => {
      for (const sessions of byGraph.values()) await sessions.close();
      byGraph.clear();
    },
  };
}
