/**
 * Runs the decoding graph: a session for each shape and set of adapters, opened on demand, the least recently used
 * closed beyond a limit. Runs of one engine follow each other, whoever asks for them.
 */

import type { Model } from "../models/open.ts";
import { type Layout, streamInputs } from "../models/stream.ts";
import type { ModelTrace } from "../models/trace.ts";
import { bucket } from "../program/layout.ts";
import type { Program } from "../program/program.ts";
import type { Runtime, Session, SessionOptions } from "../runtime/session.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { AdapterSet } from "./adapter-set.ts";
import type { KeyValueCache } from "./cache.ts";
import { type DecodeShape, decodeProgram } from "./decode-program.ts";
import { holdWeights } from "./held.ts";

/** Prompts are read in parts of at most this many tokens: attention then needs memory for a part, not for its square. */
const LONGEST_RUN = 512;

export interface EngineOptions {
  readonly model: Model;
  readonly trace: ModelTrace;
  readonly runtime: Runtime;
  readonly session: SessionOptions;
  /** Bytes that copies of the weights may take, which generation is faster from; 0 runs from the mapped file. */
  readonly holdBytes: number;
  /** Sessions kept open. */
  readonly limit?: number;
}

export interface Tokens {
  /** Ids; 0 for virtual tokens. */
  readonly ids: Int32Array;
  /** Number of the virtual token at each place, from 1; 0 for real ones. */
  readonly virtual: Int32Array;
}

export interface Engine {
  /**
   * Runs tokens behind those of the cache, adds them to it, and returns the scores [V] after the last one.
   */
  extend(cache: KeyValueCache, tokens: Tokens, set: AdapterSet): Promise<Float32Array>;
  /** Scores [T, V] after every token of a sequence. */
  logits(tokens: Tokens, set: AdapterSet): Promise<Float32Array>;
  close(): Promise<void>;
}

interface Opened {
  readonly program: Program;
  readonly session: Session;
}

export function createEngine(options: EngineOptions): Engine {
  const { model, trace, runtime, session: sessionOptions, holdBytes, limit = 6 } = options;
  const held = holdWeights(model, trace, holdBytes);
  const opened = new Map<string, Opened>(); // least recently used first
  const inTurn = turns();

  const open = async (shape: DecodeShape, set: AdapterSet): Promise<Opened> => {
    const key = `${shape.B}x${shape.T}+${shape.S}>${shape.M} ${set.key}`;
    const found = opened.get(key);
    opened.delete(key);
    if (!found && opened.size >= limit) {
      const [oldest, { session }] = opened.entries().next().value!;
      opened.delete(oldest);
      await session.close();
    }
    const program = found?.program ?? decodeProgram({ model, adapters: set.mounted, shape, held });
    const entry = found ?? { program, session: await runtime.open(program.outputs, sessionOptions) };
    opened.set(key, entry);
    return entry;
  };

  const run = async (shape: DecodeShape, run: Run, set: AdapterSet): Promise<ReadonlyMap<string, Tensor>> => {
    const { program, session } = await open(shape, set);
    const inputs = new Map<string, Tensor>([
      ...held,
      ...set.tensors,
      ...streamInputs(program.stream, layoutOf(shape.T, run)),
      ...(run.cache?.inputs() ?? []),
      ["rows", { dtype: "i32", shape: [shape.M], data: run.rows }],
    ]);
    return session.run(inputs);
  };

  return {
    extend: (cache, { ids, virtual }, set) =>
      inTurn(async () => {
        const from = cache.length;
        const longest = set.virtual.prefix + from + ids.length;
        let scores = new Float32Array(0);
        cache.reserve(from + ids.length);
        for (let at = 0; at < ids.length; at += LONGEST_RUN) {
          const count = Math.min(LONGEST_RUN, ids.length - at);
          const T = count === 1 ? 1 : bucket(count);
          const past = cache.length > 0 ? cache : null;
          const part: Run = {
            ids: ids.subarray(at, at + count),
            virtual: virtual.subarray(at, at + count),
            first: set.virtual.prefix + from + at,
            longest,
            cache: past,
            rows: Int32Array.of(count - 1),
          };
          const outputs = await run({ B: 1, T, S: past?.capacity ?? 0, M: 1 }, part, set);
          cache.append({ outputs, T, count, positions: positionsOf(part.first, count) });
          scores = outputs.get("logits")!.data as Float32Array<ArrayBuffer>;
        }
        return scores;
      }),
    logits: ({ ids, virtual }, set) =>
      inTurn(async () => {
        const M = bucket(ids.length, 8);
        const rows = Int32Array.from({ length: M }, (_, i) => Math.min(i, ids.length - 1));
        const first = set.virtual.prefix;
        const whole: Run = { ids, virtual, first, longest: first + ids.length, cache: null, rows };
        const outputs = await run({ B: 1, T: bucket(ids.length), S: 0, M }, whole, set);
        const { data, shape } = outputs.get("logits")!;
        return (data as Float32Array).subarray(0, ids.length * shape[1]!);
      }),
    close: () =>
      inTurn(async () => {
        for (const { session } of opened.values()) await session.close();
        opened.clear();
      }),
  };
}

interface Run extends Tokens {
  /** Position of the first token. */
  readonly first: number;
  /** Length of the sequence so far, which some position embeddings depend on. */
  readonly longest: number;
  readonly cache: KeyValueCache | null;
  /** Hidden rows that the head reads [M]. */
  readonly rows: Int32Array;
}

/** The stream [T] of a run: its tokens in segment 0, and behind them places that nothing sees. */
function layoutOf(T: number, { ids, virtual, first, longest }: Run): Layout {
  const line = (values: Int32Array, fill: number): Int32Array => {
    const all = new Int32Array(T).fill(fill);
    all.set(values);
    return all;
  };
  return {
    B: 1,
    T,
    ids: line(ids, 0),
    positions: line(positionsOf(first, ids.length), 0),
    segments: line(new Int32Array(ids.length), -1),
    typeIds: new Int32Array(T),
    virtual: line(virtual, 0),
    longest,
    draw: 0,
  };
}

function positionsOf(first: number, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => first + i);
}

/** Runs tasks one after the other, in the order they were asked for; one that fails does not stop the next. */
function turns(): <R>(task: () => Promise<R>) => Promise<R> {
  let last: Promise<unknown> = Promise.resolve();
  return (task) => {
    const mine = last.then(task, task);
    last = mine;
    return mine;
  };
}
