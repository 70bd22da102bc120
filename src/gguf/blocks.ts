/**
 * GGUF's blocks of weights as float32, rounded as the reference rounds.
 * Source: github.com/ggml-org/llama.cpp `gguf-py/gguf/quants.py` and `ggml/src/ggml-quants.c`.
 */

import { FormatError } from "../errors.ts";
import type { TensorEntry } from "../files/safetensors.ts";
import { fromBfloat, fromHalf, toHalf } from "../tensor/half.ts";

/** Writes the values of the block that begins at byte `at` to `out` from `to`. */
type Block = (bytes: DataView, at: number, out: Float32Array, to: number) => void;

interface BlockKind {
  readonly elements: number;
  readonly bytes: number;
  readonly read: Block;
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
    read: (bytes, at, out, to) => {
      const scale = half(bytes, at);
      const least = minimum ? half(bytes, at + 2) : -0; // which adds nothing, to a negative zero either
      const high = fifth ? bytes.getUint32(at + head, true) : 0;
      for (let i = 0; i < 32; i++) {
        const byte = bytes.getUint8(at + codesAt + (i & 15));
        const code = ((i < 16 ? byte & 15 : byte >> 4) | (((high >>> i) & 1) << 4)) - middle;
        out[to + i] = round(scale * code) + least;
      }
    },
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
    read: (bytes, at, out, to) => {
      const [scale, least] = [half(bytes, at), half(bytes, at + 2)];
      for (let j = 0; j < 8; j++) {
        const [factor, minimum] = pair(bytes, at + 4, j);
        const [step, offset] = [round(scale * factor), round(least * minimum)];
        for (let i = 0; i < 32; i++) {
          const byte = bytes.getUint8(at + codesAt + (j >> 1) * 32 + i);
          const low = j & 1 ? byte >> 4 : byte & 15;
          const high = fifth ? ((bytes.getUint8(at + 16 + i) >> j) & 1) << 4 : 0;
          out[to + 32 * j + i] = round(step * (low | high)) - offset;
        }
      }
    },
  };
}

const eight: BlockKind = {
  elements: 32,
  bytes: 34,
  read: (bytes, at, out, to) => {
    const scale = half(bytes, at);
    for (let i = 0; i < 32; i++) out[to + i] = scale * bytes.getInt8(at + 2 + i);
  },
};

/** 6 bits, of which 4 lie in `ql` and 2 in `qh`; 16 signed scales. */
const six: BlockKind = {
  elements: 256,
  bytes: 210,
  read: (bytes, at, out, to) => {
    const scale = half(bytes, at + 208);
    for (let i = 0; i < 256; i++) {
      const [side, inner] = [i >> 7, i & 127];
      const low = bytes.getUint8(at + 64 * side + (inner & 63));
      const high = bytes.getUint8(at + 128 + 32 * side + (inner & 31));
      const code = ((inner < 64 ? low & 15 : low >> 4) | (((high >> (2 * (inner >> 5))) & 3) << 4)) - 32;
      out[to + i] = round(scale * bytes.getInt8(at + 192 + (i >> 4))) * code;
    }
  },
};

function plain(size: number, value: (bytes: DataView, at: number) => number): BlockKind {
  return {
    elements: 1,
    bytes: size,
    read: (bytes, at, out, to) => {
      out[to] = value(bytes, at);
    },
  };
}

const KINDS: Readonly<Record<string, BlockKind>> = {
  F32: plain(4, (bytes, at) => bytes.getFloat32(at, true)),
  F16: plain(2, half),
  BF16: plain(2, (bytes, at) => fromBfloat(bytes.getUint16(at, true))),
  Q4_0: simple({ minimum: false, fifth: false }),
  Q4_1: simple({ minimum: true, fifth: false }),
  Q5_0: simple({ minimum: false, fifth: true }),
  Q5_1: simple({ minimum: true, fifth: true }),
  Q8_0: eight,
  Q4_K: super32(false),
  Q5_K: super32(true),
  Q6_K: six,
};

/** Types whose numbers can be had. */
export const READABLE: readonly string[] = Object.keys(KINDS);

/** The numbers of a tensor's bytes. Throws FormatError for a type that is not read. */
export function dequantiseGguf({ name, storedType, path }: TensorEntry, bytes: Uint8Array): Float32Array {
  const kind = Object.hasOwn(KINDS, storedType) ? KINDS[storedType] : undefined;
  if (!kind) {
    throw new FormatError(
      `${path}: ${name} is stored as ${storedType}; read are ${READABLE.join(", ")}. Get the model in one of these.`,
    );
  }
  const count = bytes.byteLength / kind.bytes;
  const out = new Float32Array(count * kind.elements);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < count; i++) kind.read(view, i * kind.bytes, out, i * kind.elements);
  return out;
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
