/** Runs programs of many shapes: a session a shape, opened on demand, the least recently used closed beyond a limit. */

import type { Runtime, Session, SessionOptions } from "../runtime/session.ts";
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
  /** Sessions kept open; each holds its own working memory. */
  readonly limit?: number;
}

interface Opened {
  readonly program: Program;
  readonly session: Session;
}

export function createRunner({ runtime, session: options, build, limit = 8 }: RunnerOptions): Runner {
  const opened = new Map<string, Opened>(); // least recently used first
  const open = async (shape: ProgramShape): Promise<Opened> => {
    const key = `${shape.B}x${shape.T}+${shape.M}`;
    const held = opened.get(key);
    opened.delete(key);
    if (!held && opened.size >= limit) {
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
      const { program, session } = await open(batch.shape);
      return session.run(new Map([...batchInputs(program, batch, draw), ...tensors]));
    },
    close: async () => {
      for (const { session } of opened.values()) await session.close();
      opened.clear();
    },
  };
}
