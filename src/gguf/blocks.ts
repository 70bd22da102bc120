/**
 * GGUF's blocks of weights as float32, rounded as the reference rounds.
 * Source: github.com/ggml-org/llama.cpp `gguf-py/gguf/quants.py` and `ggml/src/ggml-quants.c`.
 */

import { FormatError } from "../errors.ts";
import type { TensorEntry } from "../files/safetensors.ts";
import { fromBfloat, fromHalf, toHalf } from "../tensor/half.ts";

/**
 * A block of weights, w = code · scale + least, in parts of some elements with a scale each. Functions read from the byte
 * `at` where the block begins.
 */
interface BlockKind {
  readonly elements: number;
  readonly bytes: number;
  /** Elements that share a scale. */
  readonly part: number;
  /** What codes take: those of four bits are 0 to 15 where there is a least number, else -8 to 7. */
  readonly bits: 4 | 8;
  code(bytes: DataView, at: number, element: number): number;
  scale(bytes: DataView, at: number, part: number): number;
  /** Null where it is zero. */
  readonly least: ((bytes: DataView, at: number, part: number) => number) | null;
}

const round = Math.fround;
const half = (bytes: DataView, at: number): number => fromHalf(bytes.getUint16(at, true));

/** Blocks of 32 with 4 or 5 bits: a scale, perhaps a minimum, perhaps the fifth bits, then halves side by side. */
function simple({ minimum, fifth }: { readonly minimum: boolean; readonly fifth: boolean }): BlockKind {
  const head = minimum ? 4 : 2;
  const codesAt = head + (fifth ? 4 : 0);
  const middle = minimum ? 0 : fifth ? 16 : 8;
  return {
    elements: 32,
    bytes: codesAt + 16,
    part: 32,
    bits: fifth ? 8 : 4,
    code: (bytes, at, i) => {
      const byte = bytes.getUint8(at + codesAt + (i & 15));
      const high = fifth ? (bytes.getUint8(at + head + (i >> 3)) >> (i & 7)) & 1 : 0;
      return ((i < 16 ? byte & 15 : byte >> 4) | (high << 4)) - middle;
    },
    scale: half,
    least: minimum ? (bytes, at) => half(bytes, at + 2) : null,
  };
}

/** Scales and minimums of Q4_K and Q5_K: eight pairs of 6 bits in 12 bytes from `at`. */
function pair(bytes: DataView, at: number, j: number): [scale: number, minimum: number] {
  if (j < 4) return [bytes.getUint8(at + j) & 63, bytes.getUint8(at + j + 4) & 63];
  const rest = bytes.getUint8(at + j + 4);
  return [(rest & 15) | ((bytes.getUint8(at + j - 4) >> 2) & 48), (rest >> 4) | ((bytes.getUint8(at + j) >> 2) & 48)];
}

/** Super-blocks of 256: eight blocks of 32, codes of two blocks in the halves of 32 bytes, the fifth bits before them. */
function super32(fifth: boolean): BlockKind {
  const codesAt = 16 + (fifth ? 32 : 0);
  return {
    elements: 256,
    bytes: codesAt + 128,
    part: 32,
    bits: fifth ? 8 : 4,
    code: (bytes, at, i) => {
      const [j, inner] = [i >> 5, i & 31];
      const byte = bytes.getUint8(at + codesAt + (j >> 1) * 32 + inner);
      const high = fifth ? ((bytes.getUint8(at + 16 + inner) >> j) & 1) << 4 : 0;
      return (j & 1 ? byte >> 4 : byte & 15) | high;
    },
    scale: (bytes, at, j) => round(half(bytes, at) * pair(bytes, at + 4, j)[0]),
    least: (bytes, at, j) => -round(half(bytes, at + 2) * pair(bytes, at + 4, j)[1]),
  };
}

const eight: BlockKind = {
  elements: 32,
  bytes: 34,
  part: 32,
  bits: 8,
  code: (bytes, at, i) => bytes.getInt8(at + 2 + i),
  scale: half,
  least: null,
};

/** 6 bits, of which 4 lie in `ql` and 2 in `qh`; 16 signed scales. */
const six: BlockKind = {
  elements: 256,
  bytes: 210,
  part: 16,
  bits: 8,
  code: (bytes, at, i) => {
    const [side, inner] = [i >> 7, i & 127];
    const low = bytes.getUint8(at + 64 * side + (inner & 63));
    const high = bytes.getUint8(at + 128 + 32 * side + (inner & 31));
    return ((inner < 64 ? low & 15 : low >> 4) | (((high >> (2 * (inner >> 5))) & 3) << 4)) - 32;
  },
  scale: (bytes, at, j) => round(half(bytes, at + 208) * bytes.getInt8(at + 192 + j)),
  least: null,
};

const KINDS: Readonly<Record<string, BlockKind>> = {
  Q4_0: simple({ minimum: false, fifth: false }),
  Q4_1: simple({ minimum: true, fifth: false }),
  Q5_0: simple({ minimum: false, fifth: true }),
  Q5_1: simple({ minimum: true, fifth: true }),
  Q8_0: eight,
  Q4_K: super32(false),
  Q5_K: super32(true),
  Q6_K: six,
};

interface FloatKind {
  readonly bytes: number;
  value(bytes: DataView, at: number): number;
}

const FLOATS: Readonly<Record<string, FloatKind>> = {
  F32: { bytes: 4, value: (bytes, at) => bytes.getFloat32(at, true) },
  F16: { bytes: 2, value: half },
  BF16: { bytes: 2, value: (bytes, at) => fromBfloat(bytes.getUint16(at, true)) },
};

/** Types whose numbers can be had. */
export const READABLE: readonly string[] = [...Object.keys(FLOATS), ...Object.keys(KINDS)];

/** Whether a type holds blocks of codes. */
export function isBlocked(storedType: string): boolean {
  return Object.hasOwn(KINDS, storedType);
}

/** The numbers of a tensor's bytes. Throws FormatError for a type that is not read. */
export function dequantiseGguf({ name, storedType, path }: TensorEntry, bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (Object.hasOwn(FLOATS, storedType)) {
    const { bytes: size, value } = FLOATS[storedType]!;
    return Float32Array.from({ length: bytes.byteLength / size }, (_, i) => value(view, i * size));
  }
  if (!isBlocked(storedType)) {
    throw new FormatError(
      `${path}: ${name} is stored as ${storedType}; read are ${READABLE.join(", ")}. Get the model in one of these.`,
    );
  }
  const kind = KINDS[storedType]!;
  const out = new Float32Array((bytes.byteLength / kind.bytes) * kind.elements);
  eachPart(kind, view, (at, part, to) => {
    const scale = kind.scale(view, at, part);
    const least = kind.least ? kind.least(view, at, part) : -0; // which adds nothing, to a negative zero either
    for (let i = 0; i < kind.part; i++) {
      out[to + i] = round(scale * kind.code(view, at, part * kind.part + i)) + least;
    }
  });
  return out;
}

/** A tensor's codes as products take them: w = (code − middle) · scale + offset, the middle 8 or 128. */
export interface BlockSteps {
  readonly bits: 4 | 8;
  /** Elements that share a scale. */
  readonly block: number;
  /** Of four bits two a byte, the earlier one in the low half. */
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  /** Null where all are zero. */
  readonly offsets: Float32Array | null;
}

/** What a tensor of this type takes in steps: bits of a code, elements that share a scale, whether there are offsets. */
export function stepsFormat(storedType: string): {
  readonly bits: 4 | 8;
  readonly block: number;
  readonly offset: boolean;
} {
  const { bits, part, least } = KINDS[storedType]!;
  return { bits, block: part, offset: least !== null };
}

/** The codes of a tensor of blocks, and what they stand for: the very numbers of `dequantiseGguf`. */
export function blockSteps(storedType: string, bytes: Uint8Array): BlockSteps {
  const kind = KINDS[storedType]!;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const elements = (bytes.byteLength / kind.bytes) * kind.elements;
  const codes = new Uint8Array((elements * kind.bits) / 8);
  const scales = new Float32Array(elements / kind.part);
  const offsets = kind.least ? new Float32Array(scales.length) : null;
  const middle = kind.bits === 4 ? 8 : 128;
  // Codes of four bits with a least number are 0 to 15 as they are; what the middle takes off, the offset gives back.
  const kept = kind.bits === 4 && kind.least !== null;
  eachPart(kind, view, (at, part, to) => {
    const scale = kind.scale(view, at, part);
    const index = to / kind.part;
    scales[index] = scale;
    if (offsets) offsets[index] = kind.least!(view, at, part) + (kept ? middle * scale : 0);
    for (let i = 0; i < kind.part; i++) {
      const code = kind.code(view, at, part * kind.part + i) + (kept ? 0 : middle);
      if (kind.bits === 8) codes[to + i] = code;
      else codes[(to + i) >> 1]! |= i & 1 ? code << 4 : code;
    }
  });
  return { bits: kind.bits, block: kind.part, codes, scales, offsets };
}

/** Visits each part of each block: the block's first byte, the part's number in it, and its first element in all. */
function eachPart(kind: BlockKind, view: DataView, visit: (at: number, part: number, to: number) => void): void {
  const parts = kind.elements / kind.part;
  for (let block = 0; block < view.byteLength / kind.bytes; block++) {
    for (let part = 0; part < parts; part++) {
      visit(block * kind.bytes, part, block * kind.elements + part * kind.part);
    }
  }
}

/** Numbers, a multiple of 32, as Q8_0 blocks. */
export function quantiseEight(values: Float32Array): Uint8Array {
  const blocks = values.length / 32;
  const bytes = new Uint8Array(34 * blocks);
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < blocks; block++) {
    const own = values.subarray(32 * block, 32 * block + 32);
    const scale = round(own.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127);
    const inverse = scale === 0 ? 0 : round(1 / scale);
    view.setUint16(34 * block, toHalf(scale), true);
    own.forEach((value, i) => {
      const level = round(value * inverse);
      // Halves go away from zero, as roundf takes them.
      view.setInt8(34 * block + 2 + i, Math.sign(level) * Math.floor(Math.abs(level) + 0.5));
    });
  }
  return bytes;
}
