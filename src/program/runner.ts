/**
 * Runs programs on batches of any shape. Where the graph allows it, one session serves all of them; else a session a
 * shape is opened on demand, and the least recently used is closed beyond a limit.
 */

import type { Runtime, Session, SessionOptions } from "../runtime/session.ts";
import { SIZE_INPUT, type Sizes } from "../runtime/sized.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Batch, batchInputs } from "./batch.ts";
import type { ProgramShape } from "./layout.ts";
import type { Program } from "./program.ts";

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

/** Sessions of single shapes kept open; each maps the weights and holds working memory of its own. */
const LIMIT = 4;

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

interface Opened {
  readonly program: Program;
  readonly session: Session;
}

export function createRunner({ runtime, session: options, build }: RunnerOptions): Runner {
  const sized = new Map<number, Opened | null>(); // by chunks of the head
  const opened = new Map<string, Opened>(); // of one shape each, least recently used first

  /** A session for every shape with so many chunks; null when the program has none. */
  const openSized = async (chunks: number): Promise<Opened | null> => {
    const held = sized.get(chunks);
    if (held !== undefined) return held;
    const programs: Program[] = [];
    const graph = {
      probes: PROBES,
      monomials: MONOMIALS,
      build: ({ B = 0, T = 0, m = 0 }: Sizes) => {
        const program = build({ B, T, M: m * chunks, chunks });
        programs.push(program);
        return program.outputs;
      },
    };
    const session = await runtime.openSized(graph, options);
    const entry = session && { program: programs[0]!, session };
    sized.set(chunks, entry);
    return entry;
  };

  const openOne = async (shape: ProgramShape): Promise<Opened> => {
    const key = `${shape.B}x${shape.T}+${shape.M}`;
    const held = opened.get(key);
    opened.delete(key);
    if (!held && opened.size >= LIMIT) {
      const [oldest, { session }] = opened.entries().next().value!;
      opened.delete(oldest);
      await session.close();
    }
    const program = held?.program ?? build(shape);
    const entry = held ?? { program, session: await runtime.open(program.outputs, options) };
    opened.set(key, entry);
    return entry;
  };

  return {
    run: async (batch, tensors, draw = 0) => {
      const { B, T, M, chunks } = batch.shape;
      const { program, session } = (await openSized(chunks)) ?? (await openOne(batch.shape));
      const sizes = Object.entries({ B, T, m: M / chunks }).map(
        ([name, size]) => [SIZE_INPUT + name, sizeTensor(size)] as const,
      );
      return session.run(new Map([...batchInputs(program, batch, draw), ...sizes, ...tensors]));
    },
    close: async () => {
      for (const entry of [...sized.values(), ...opened.values()]) await entry?.session.close();
      sized.clear();
      opened.clear();
    },
  };
}

function sizeTensor(size: number): Tensor {
  return { dtype: "i64", shape: [1], data: BigInt64Array.of(BigInt(size)) };
}
