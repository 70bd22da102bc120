/** Tensors of any floating type as float32 and back. */

import { FormatError } from "../errors.ts";
import type { DType, TypedArray } from "./dtype.ts";
import { fromHalf, toBfloat, toHalf } from "./half.ts";
import type { Tensor } from "./tensor.ts";

/** Patterns of 16 bits. */
const TABLE = 65536;

/** The elements as float32; the same array when they are that already. Integers convert by value. */
export function toFloat32(tensor: Tensor): Float32Array {
  const { data, dtype } = tensor;
  switch (dtype) {
    case "f32":
      return data as Float32Array;
    case "f16":
      // A table pays where it is shorter than the data.
      return data.length < TABLE
        ? Float32Array.from(data as Uint16Array, fromHalf)
        : map(data as Uint16Array, halfTable());
    case "bf16": {
      const out = new Float32Array(data.length);
      const words = new Uint32Array(out.buffer);
      const patterns = data as Uint16Array;
      for (let i = 0; i < patterns.length; i++) words[i] = patterns[i]! << 16;
      return out;
    }
    case "i4":
    case "u4":
      throw new FormatError(`internal: ${dtype} tensors have no plain float32 reading`);
    default:
      return Float32Array.from(data as ArrayLike<number | bigint>, Number);
  }
}

/** `values` rounded to `dtype` (nearest, ties to even). */
export function fromFloat32(values: Float32Array, dtype: DType): TypedArray {
  switch (dtype) {
    case "f32":
      return values;
    case "f64":
      return Float64Array.from(values);
    case "f16":
      return Uint16Array.from(values, toHalf);
    case "bf16":
      return Uint16Array.from(values, toBfloat);
    default:
      throw new FormatError(`internal: float32 values cannot be written as ${dtype}`);
  }
}

function map(patterns: Uint16Array, table: Float32Array): Float32Array {
  const out = new Float32Array(patterns.length);
  for (let i = 0; i < patterns.length; i++) out[i] = table[patterns[i]!]!;
  return out;
}

function halfTable(): Float32Array {
  const table = new Float32Array(TABLE);
  for (let pattern = 0; pattern < TABLE; pattern++) table[pattern] = fromHalf(pattern);
  return table;
}
