/**
 * Runs the decoding graph for many sequences at once: those that begin together, and those that go on as rows of their
 * pool. Sets of adapters that can be stacked share runs; every other set has its own.
 * Letters: B streams, T new tokens each, S places of the cache, N = B·T, M rows of the head, R ranks of all adapters.
 */

import type { Model } from "../models/open.ts";
import { createStream, type Layout, streamInputs } from "../models/stream.ts";
import type { ModelTrace } from "../models/trace.ts";
import type { Program } from "../program/program.ts";
import { createSessions, type Sessions } from "../program/sessions.ts";
import type { Runtime, SessionOptions } from "../runtime/session.ts";
import type { FloatTensor, Tensor } from "../tensor/tensor.ts";
import type { AdapterSet } from "./adapter-set.ts";
import { type CacheRow, type Caches, createCaches } from "./cache.ts";
import { type DecodeShape, decodeProgram, decodeSizes, fusedInput } from "./decode-program.ts";
import { holdWeights, notHeld } from "./held.ts";
import { type BranchSizes, createRankStack } from "./rank-stack.ts";
import { STACK_FACTORS } from "./stacked-weights.ts";

/** Prompts are read in parts of at most this many tokens: attention then needs memory for a part, not for its square. */
export const LONGEST_RUN = 512;
/**
 * Ranks that one run may stack, unless a single sequence needs more: every row computes with all of them, and beyond
 * this two runs cost less than one.
 */
const MOST_RANKS = 256;
/** Structures of adapters whose sessions are kept. */
const LIMIT = 12;

export interface EngineOptions {
  readonly model: Model;
  readonly trace: ModelTrace;
  readonly runtime: Runtime;
  readonly session: SessionOptions;
  /** Bytes that copies of the weights may take, which generation is faster from; 0 runs from the mapped file. */
  readonly holdBytes: number;
  /** Tensors in place of the checkpoint's. */
  readonly fused?: ReadonlyMap<string, FloatTensor>;
  /** Ranks that every run with stacked adapters has; null: as many as it needs. */
  readonly ranks?: number | null;
}

export interface Tokens {
  /** Ids; 0 for virtual tokens. */
  readonly ids: Int32Array;
  /** Number of the virtual token at each place, from 1; 0 for real ones. */
  readonly virtual: Int32Array;
}

/** Tokens behind those that a row holds. */
export interface Work {
  readonly row: CacheRow;
  /** At least one, at most LONGEST_RUN. */
  readonly tokens: Tokens;
  readonly set: AdapterSet;
}

export interface Engine {
  readonly caches: Caches;
  /** Runs every work, adds its tokens to its row, and returns the scores [V] after the last of them. */
  step(works: readonly Work[]): Promise<Float32Array[]>;
  /** Scores [T, V] after every token of a sequence. */
  logits(tokens: Tokens, set: AdapterSet): Promise<Float32Array>;
  close(): Promise<void>;
}

export function createEngine(options: EngineOptions): Engine {
  const { model, trace, runtime, session, holdBytes, fused = new Map(), ranks = null } = options;
  const held = holdWeights(model, trace, holdBytes, fused);
  const tables = [...trace.modules.values()].flatMap(({ kind, name }) =>
    kind === "embedding" ? [`${name}.weight`] : [],
  );
  const beside = notHeld(held, new Set(tables), fused);
  const caches = createCaches(model.config);
  const stack = createRankStack();
  const opened = new Map<string, Sessions>(); // least recently used first
  const inTurn = turns();
  const alone = dependsOnLength(model);
  let stacked: BranchSizes = new Map(); // of every adapter so far: few graphs are needed

  const sessionsFor = async (set: AdapterSet, { T, S, R }: DecodeShape): Promise<Sessions> => {
    const modules = R === 0 ? "" : [...stacked.keys()].join();
    const step = S > 0 && T === 1; // a graph of its own: it moves nothing between heads and tokens
    const key = `${S === 0 ? "first" : step ? "step" : "next"} ${modules} ${set.key}`;
    const found = opened.get(key);
    opened.delete(key);
    if (!found && opened.size >= LIMIT) {
      const [oldest, sessions] = opened.entries().next().value!;
      opened.delete(oldest);
      await sessions.close();
    }
    const constants = set.constant ? set.tensors : null;
    const decoding = runtime.memory === undefined;
    const parts = { model, mounted: set.mounted, stacked, held, fused: beside, constants, decoding };
    const names = (["B", "T", "S", "M", "R"] as const).filter(
      (name) => (name !== "S" || S > 0) && (name !== "R" || R > 0) && (name !== "T" || !step),
    );
    const entry =
      found ??
      createSessions({
        runtime,
        session,
        ...decodeSizes(names),
        build: ({ B = 0, T: tokens = 1, S: places = 0, M = 0, R: ranks = 0 }) =>
          decodeProgram(parts, { B, T: tokens, S: places, M, R: ranks }),
      });
    opened.set(key, entry);
    return entry;
  };

  const execute = async (run: Run): Promise<ReadonlyMap<string, Tensor>> => {
    const { set } = run.parts[0]!;
    const arranged = stackInputs(run);
    const { B, T, S, rows } = run;
    const shape: DecodeShape = { B, T, S, M: rows.length, R: arranged.rank };
    const sessions = await sessionsFor(set, shape);
    const sizes = Object.fromEntries(Object.entries(shape).filter(([, size]) => size > 0));
    return sessions.run(sizes, (program: Program) => {
      return new Map<string, Tensor>([
        ...held,
        ...[...beside].map(([name, tensor]) => [fusedInput(name), tensor] as const),
        ...set.tensors,
        ...arranged.tensors,
        ...streamInputs(program.stream, layoutOf(run)),
        ...run.past,
        ["rows", { dtype: "i32", shape: [rows.length], data: rows }],
      ]);
    });
  };

  /** The stacked adapters of a run, and how much of each a token takes [N, R]. */
  const stackInputs = ({ parts, B, T }: Run): { rank: number; tensors: ReadonlyMap<string, Tensor> } => {
    const uses = parts.flatMap(({ set }) => set.stacked ?? []);
    if (uses.length === 0) return { rank: 0, tensors: new Map() };
    const missing = uses.flatMap(({ adapter }) => [...adapter.sizes].filter(([module]) => !stacked.has(module)));
    if (missing.length > 0) stacked = new Map([...stacked, ...missing]);
    const { rank, first, tensors } = stack.arrange([...new Set(uses.map(({ adapter }) => adapter))], stacked, ranks);
    const factors = new Float32Array(B * T * rank);
    for (const { set, start, tokens } of parts) {
      for (const { adapter, weight } of set.stacked ?? []) {
        for (let token = start; token < start + tokens.ids.length; token++) {
          const at = token * rank + first.get(adapter)!;
          for (let k = 0; k < adapter.rank; k++) factors[at + k]! += weight;
        }
      }
    }
    const named: [string, Tensor] = [STACK_FACTORS, { dtype: "f32", shape: [B * T, rank], data: factors }];
    return { rank, tensors: new Map([...tensors, named]) };
  };

  /** Runs and stores what came of it. */
  const finish = async (made: Run, works: readonly Work[], results: Map<Work, Float32Array>): Promise<void> => {
    const outputs = await execute(made);
    const { data, shape } = outputs.get("logits")!;
    const V = shape[1]!;
    made.parts.forEach(({ start, tokens, first }, i) => {
      const work = works[i]!;
      const positions = positionsOf(first, tokens.ids.length);
      caches.append(work.row, { outputs, stream: Math.floor(start / made.T), at: start % made.T, positions });
      results.set(work, (data as Float32Array).subarray(i * V, (i + 1) * V));
    });
  };

  return {
    caches,
    step: (works) =>
      inTurn(async () => {
        const results = new Map<Work, Float32Array>();
        for (const group of groupsOf(works, alone, ranks ?? MOST_RANKS)) await finish(runOf(group), group, results);
        return works.map((work) => results.get(work)!);
      }),
    logits: ({ ids, virtual }, set) =>
      inTurn(async () => {
        const rows = Int32Array.from({ length: ids.length }, (_, i) => i);
        const part: Part = { tokens: { ids, virtual }, set, start: 0, first: set.virtual.prefix };
        const outputs = await execute({ B: 1, T: ids.length, S: 0, parts: [part], past: new Map(), rows });
        return outputs.get("logits")!.data as Float32Array;
      }),
    close: () =>
      inTurn(async () => {
        for (const sessions of opened.values()) await sessions.close();
        opened.clear();
      }),
  };
}

/** One sequence's tokens in a run. */
interface Part {
  readonly tokens: Tokens;
  readonly set: AdapterSet;
  /** Where they begin among the N places. */
  readonly start: number;
  /** Position of the first. */
  readonly first: number;
}

interface Run {
  readonly B: number;
  readonly T: number;
  readonly S: number;
  readonly parts: readonly Part[];
  readonly past: ReadonlyMap<string, Tensor>;
  /** Hidden rows that the head reads [M]. */
  readonly rows: Int32Array;
}

/**
 * Works that run together: beginnings of about one length as streams side by side, never end to end, so that what an
 * adapter makes infinite stays in its own stream; single tokens as neighbouring rows of a pool, rows between them idle;
 * longer continuations one by one.
 */
function groupsOf(works: readonly Work[], alone: boolean, mostRanks: number): Work[][] {
  const groups: Work[][] = [];
  const open = new Map<unknown, Work[]>();
  const join = (key: unknown, work: Work, fits: (held: readonly Work[]) => boolean): void => {
    const held = open.get(key);
    if (!alone && held && fits(held) && ranksOf([...held, work]) <= mostRanks) held.push(work);
    else {
      const fresh = [work];
      open.set(key, fresh);
      groups.push(fresh);
    }
  };
  const lengthOf = ({ tokens }: Work): number => tokens.ids.length;
  const beginnings = works.filter(({ row }) => row.length === 0).toSorted((a, b) => lengthOf(a) - lengthOf(b));
  for (const work of beginnings) {
    const T = lengthOf(work);
    join(work.row.group, work, (held) => (held.length + 1) * T <= LONGEST_RUN && 2 * lengthOf(held[0]!) >= T);
  }
  const others = works.filter(({ row }) => row.length > 0).toSorted((a, b) => a.row.slot - b.row.slot);
  for (const work of others) {
    if (lengthOf(work) === 1) join(work.row.pool, work, () => true);
    else groups.push([work]);
  }
  return groups;
}

function ranksOf(works: readonly Work[]): number {
  const adapters = new Set(works.flatMap(({ set }) => (set.stacked ?? []).map(({ adapter }) => adapter)));
  return [...adapters].reduce((sum, { rank }) => sum + rank, 0);
}

function runOf(works: readonly Work[]): Run {
  const T = Math.max(...works.map(({ tokens }) => tokens.ids.length));
  const { row } = works[0]!;
  const fresh = row.length === 0;
  const slots = works.map((work, i) => (fresh ? i : work.row.slot));
  const first = Math.min(...slots);
  const B = Math.max(...slots) - first + 1;
  const parts = works.map(({ tokens, set, row: { length } }, i): Part => {
    return { tokens, set, start: (slots[i]! - first) * T, first: set.virtual.prefix + length };
  });
  const cached = fresh ? { S: 0, past: new Map() } : { S: row.pool.places, past: row.pool.inputs(first, B) };
  return { B, T, parts, rows: lastRows(parts), ...cached };
}

function lastRows(parts: readonly Part[]): Int32Array {
  return Int32Array.from(parts, ({ start, tokens }) => start + tokens.ids.length - 1);
}

/** The streams of a run; where nothing stands, tokens are in no segment and nothing sees them. */
function layoutOf({ B, T, parts }: Pick<Run, "B" | "T" | "parts">): Layout {
  const N = B * T;
  const layout = {
    ids: new Int32Array(N),
    positions: new Int32Array(N),
    segments: new Int32Array(N).fill(-1),
    virtual: new Int32Array(N),
  };
  let longest = 0;
  for (const { tokens, start, first } of parts) {
    const count = tokens.ids.length;
    layout.ids.set(tokens.ids, start);
    layout.virtual.set(tokens.virtual, start);
    layout.positions.set(positionsOf(first, count), start);
    layout.segments.fill(0, start, start + count);
    longest = Math.max(longest, first + count);
  }
  return { B, T, ...layout, typeIds: new Int32Array(N), longest, draw: 0 };
}

function positionsOf(first: number, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => first + i);
}

/** Whether some of the model's inputs follow the longest row's length (dynamic rotary scaling): rows then run alone. */
function dependsOnLength(model: Model): boolean {
  const stream = createStream(1, 1);
  model.architecture.hidden(model.weights(stream), model.config, stream);
  const layout = layoutOf({ B: 1, T: 1, parts: [] });
  const [short, long] = [1, 2 ** 30].map((longest) =>
    streamInputs(stream, { ...layout, positions: Int32Array.of(1), longest }),
  );
  return [...short!].some(([name, { data }]) => data.join() !== long!.get(name)!.data.join());
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
