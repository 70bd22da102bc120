/**
 * Rows → streams. Rows lie side by side or end to end, whatever costs least; the choice depends on their lengths
 * alone, so that a resumed run repeats it, and it never changes the loss.
 * Letters: B streams, T tokens a stream, N = B·T, M rows of hidden states that the head reads.
 */

import { DataError } from "../errors.ts";
import type { Head } from "../models/architecture.ts";
import { type Layout, queryParts } from "../models/stream.ts";

/** One row as layouts see it. */
export interface RowTokens {
  readonly ids: Int32Array;
  readonly typeIds?: Int32Array;
}

export interface ProgramShape {
  readonly B: number;
  readonly T: number;
  readonly M: number;
  /** Parts of the same size that the head takes its rows in, so that their scores never exist together. */
  readonly chunks: number;
  /** Whether those are turns of a loop. */
  readonly loops?: boolean;
}

/** Whether rows may share a stream: as it costs least, wherever it saves a token, or never. */
export const PACKINGS = ["auto", "on", "off"] as const;
export type Packing = (typeof PACKINGS)[number];

/** What a model's size says about the price of a layout. */
export interface CostFacts {
  readonly packing?: Packing;
  /** Extra cost of a token per other token of its stream, beside 1 for its linear layers. */
  readonly attention: number;
  /** Cost of a row of the head, likewise. */
  readonly head: number;
}

export interface PlacedRow {
  readonly row: number;
  /** First place of the row, virtual tokens included: what a head that reads the first place gets, as in PEFT. */
  readonly first: number;
  /** First place of the row's own tokens (behind virtual ones) in the N places. */
  readonly start: number;
  readonly length: number;
}

export interface Placement {
  readonly layout: Omit<Layout, "draw">;
  readonly places: readonly PlacedRow[];
}

export interface VirtualTokens {
  /** Prompt tokens that stand before each row in its stream. */
  readonly prompt: number;
  /** Tokens that are only keys and values: they take no place, but positions count them. */
  readonly prefix: number;
}

export const NO_VIRTUAL: VirtualTokens = { prompt: 0, prefix: 0 };

/** The cheapest streams for rows of these lengths: how many and how long. */
export function chooseStreams(
  lengths: readonly number[],
  { attention, packing = "auto" }: CostFacts,
): { B: number; T: number } {
  const longest = Math.max(...lengths);
  if (packing === "off") return { B: lengths.length, T: bucket(longest) };
  const price = packing === "on" ? 0 : attention;
  const total = lengths.reduce((a, b) => a + b, 0);
  const candidates = new Set(
    lengths
      .map((_, k) => Math.max(longest, Math.ceil(total / (k + 1))))
      .concat(longest)
      .map((length) => bucket(length)),
  );
  let best = { B: 0, T: 0, cost: Number.POSITIVE_INFINITY };
  const parts = queryParts(bucket(longest));
  for (const T of [...candidates].toSorted((a, b) => a - b)) {
    // Another number of parts is another session, with memory of its own: only rows that are long themselves ask for it.
    if (packing === "auto" && queryParts(T) !== parts) continue;
    const B = pack(lengths, T).length;
    const cost = B * T * (1 + price * T);
    if (cost < best.cost) best = { B, T, cost };
  }
  return { B: best.B, T: best.T };
}

/** The next length that is used: eight steps an octave, so that few shapes are needed. */
export function bucket(length: number, smallest = 16): number {
  let step = smallest;
  while (length > 16 * step) step *= 2;
  return Math.ceil(length / step) * step;
}

/** Largest block of scores, in elements: 8 Mi are 32 MiB of float32. */
const CHUNK_ELEMENTS = 8 * 2 ** 20;

/** Rows that the head is given for `count` of them, with `classes` scores each, and in how many chunks. */
export function headShape(count: number, classes: number): Pick<ProgramShape, "M" | "chunks"> {
  const chunks = Math.ceil((Math.max(1, count) * classes) / CHUNK_ELEMENTS);
  return { M: chunks * bucket(Math.ceil(Math.max(1, count) / chunks), 8), chunks };
}

/** Lays rows out in B streams of T tokens, one in each where there are as many streams as rows. */
export function place(
  rows: readonly RowTokens[],
  { B, T }: { B: number; T: number },
  virtual: VirtualTokens,
): Placement {
  const N = B * T;
  const line = (fill: number): Int32Array => new Int32Array(N).fill(fill);
  const layout = { B, T, ids: line(0), positions: line(0), segments: line(-1), typeIds: line(0), virtual: line(0) };
  const places: PlacedRow[] = [];
  const lengths = rows.map(({ ids }) => ids.length + virtual.prompt);
  const streams = B === rows.length ? rows.map((_, row) => [row]) : pack(lengths, T);
  if (streams.length > B) throw new DataError(`internal: ${rows.length} rows do not fit ${B} streams of ${T} tokens`);
  streams.forEach((members, stream) => {
    let at = stream * T;
    for (const row of members) {
      const { ids, typeIds } = rows[row]!;
      const length = virtual.prompt + ids.length;
      for (let i = 0; i < length; i++) {
        const token = i - virtual.prompt;
        layout.positions[at + i] = virtual.prefix + i;
        layout.segments[at + i] = row;
        if (token < 0) layout.virtual[at + i] = i + 1;
        else {
          layout.ids[at + i] = ids[token]!;
          layout.typeIds[at + i] = typeIds?.[token] ?? 0;
        }
      }
      places.push({ row, first: at, start: at + virtual.prompt, length: ids.length });
      at += length;
    }
  });
  places.sort((a, b) => a.row - b.row);
  const longest = Math.max(...rows.map(({ ids }) => ids.length)) + virtual.prompt + virtual.prefix;
  return { layout: { ...layout, longest }, places };
}

/** Which hidden rows a head reads for these placed rows: one a target, or the first or last token of each row. */
export function headRows(
  kind: Head<never>["rows"],
  places: readonly PlacedRow[],
  targets: readonly (readonly number[])[],
): number[] {
  if (kind === "targets") return places.flatMap(({ row, start }) => targets[row]!.map((at) => start + at));
  if (kind === "pooled") return []; // it reads whole rows
  return places.map(({ first, start, length }) => (kind === "first" ? first : start + length - 1));
}

/** Rows by stream, first fit by decreasing length; ties and streams keep the rows' order. */
function pack(lengths: readonly number[], T: number): number[][] {
  const streams: { members: number[]; free: number }[] = [];
  const order = lengths.map((_, row) => row).toSorted((a, b) => lengths[b]! - lengths[a]! || a - b);
  for (const row of order) {
    const length = lengths[row]!;
    let stream = streams.find(({ free }) => free >= length);
    if (!stream) {
      stream = { members: [], free: T };
      streams.push(stream);
    }
    stream.members.push(row);
    stream.free -= length;
  }
  return streams.map(({ members }) => members);
}
