/** A named block of numbers in memory: element type, shape, row-major data. */

import type { DType, TypedArray } from "./dtype.ts";
import { sizeOf } from "./shape.ts";

export interface Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Row-major elements; f16 and bf16 as their 16-bit patterns. */
  readonly data: TypedArray;
}

/** A float32 tensor in memory: what adapters, gradients and optimizer states are. */
export interface FloatTensor extends Tensor {
  readonly dtype: "f32";
  readonly data: Float32Array;
}

/** A float32 tensor over `data`, or zeros of `shape`. */
export function floatTensor(
  shape: readonly number[],
  data: Float32Array = new Float32Array(sizeOf(shape)),
): FloatTensor {
  return { dtype: "f32", shape, data };
}

/** A tensor that lies in a file; the runtime maps it instead of reading it. */
export interface StoredTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Absolute path with every symbolic link resolved. */
  readonly path: string;
  /** Bytes from the beginning of the file. */
  readonly offset: number;
  readonly byteLength: number;
}
