/** Runs programs on batches of any shape. */

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

/** B streams, T tokens each, m rows of the head a chunk. Probes are primes, so that no two extents are alike by chance. */
const MONOMIALS = [[], ["B"], ["T"], ["m"], ["B", "T"]] as const;
const PROBES: readonly Sizes[] = [
  { B: 2, T: 37, m: 11 },
  { B: 3, T: 37, m: 11 },
  { B: 2, T: 41, m: 11 },
  { B: 2, T: 37, m: 13 },
  { B: 3, T: 41, m: 11 },
  { B: 5, T: 43, m: 17 }, // checks the fit of the others
];

export function createRunner({ runtime, session, build }: RunnerOptions): Runner {
  const byChunks = new Map<number, Sessions>(); // chunks of the head are unrolled: each number of them is a graph

  const sessionsFor = (chunks: number): Sessions => {
    const held = byChunks.get(chunks);
    if (held) return held;
    const sessions = createSessions({
      runtime,
      session,
      probes: PROBES,
      monomials: MONOMIALS,
      build: ({ B = 0, T = 0, m = 0 }) => build({ B, T, M: m * chunks, chunks }),
    });
    byChunks.set(chunks, sessions);
    return sessions;
  };

  return {
    run: (batch, tensors, draw = 0) => {
      const { B, T, M, chunks } = batch.shape;
      return sessionsFor(chunks).run(
        { B, T, m: M / chunks },
        (program) => new Map([...batchInputs(program, batch, draw), ...tensors]),
      );
    },
    close: async () => {
      for (const sessions of byChunks.values()) await sessions.close();
      byChunks.clear();
    },
  };
}
