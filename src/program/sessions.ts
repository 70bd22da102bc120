/**
 * Sessions of one program for whatever sizes come: one session for all of them where the graph allows it; else a
 * session a size is opened on demand, and the least recently used is closed beyond a limit.
 */

import type { Runtime, Session, SessionOptions } from "../runtime/session.ts";
import { type Monomials, SIZE_INPUT, type Sizes } from "../runtime/sized.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Program } from "./program.ts";

export interface Sessions {
  /** Runs the program at these sizes with what `inputs` gives it. */
  run(sizes: Sizes, inputs: (program: Program) => ReadonlyMap<string, Tensor>): Promise<ReadonlyMap<string, Tensor>>;
  close(): Promise<void>;
}

export interface SessionsOptions {
  readonly runtime: Runtime;
  readonly session: SessionOptions;
  /** Sizes to build the graph at, and products of them that its integers may be sums of: see `runtime/sized.ts`. */
  readonly probes: readonly Sizes[];
  readonly monomials: Monomials;
  build(sizes: Sizes): Program;
}

/** Sessions of single sizes kept open; each holds working memory of its own. */
const LIMIT = 4;

interface Opened {
  readonly program: Program;
  readonly session: Session;
}

export function createSessions({ runtime, session: options, probes, monomials, build }: SessionsOptions): Sessions {
  let forAll: Opened | null | undefined;
  const forOne = new Map<string, Opened>(); // least recently used first

  const openForAll = async (): Promise<Opened | null> => {
    if (forAll !== undefined) return forAll;
    const programs: Program[] = [];
    const graph = {
      probes,
      monomials,
      build: (sizes: Sizes) => {
        const program = build(sizes);
        programs.push(program);
        return program.outputs;
      },
    };
    const session = await runtime.openSized(graph, options);
    forAll = session && { program: programs[0]!, session };
    return forAll;
  };

  const openForOne = async (sizes: Sizes): Promise<Opened> => {
    const key = Object.values(sizes).join();
    const held = forOne.get(key);
    forOne.delete(key);
    if (!held && forOne.size >= LIMIT) {
      const [oldest, { session }] = forOne.entries().next().value!;
      forOne.delete(oldest);
      await session.close();
    }
    const program = held?.program ?? build(sizes);
    const entry = held ?? { program, session: await runtime.open(program.outputs, options) };
    forOne.set(key, entry);
    return entry;
  };

  return {
    run: async (sizes, inputs) => {
      const { program, session } = (await openForAll()) ?? (await openForOne(sizes));
      const named = Object.entries(sizes).map(([name, size]) => [SIZE_INPUT + name, sizeTensor(size)] as const);
      return session.run(new Map([...inputs(program), ...named]));
    },
    close: async () => {
      for (const entry of [forAll, ...forOne.values()]) await entry?.session.close();
      forAll = undefined;
      forOne.clear();
    },
  };
}

function sizeTensor(size: number): Tensor {
  return { dtype: "i64", shape: [1], data: BigInt64Array.of(BigInt(size)) };
}
