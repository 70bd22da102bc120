/** Element types, named as safetensors does in lower case. */

export type DType =
  | "f64"
  | "f32"
  | "f16"
  | "bf16"
  | "i64"
  | "i32"
  | "i16"
  | "i8"
  | "u64"
  | "u32"
  | "u16"
  | "u8"
  | "bool"
  | "i4"
  | "u4";

export type TypedArray =
  | Float64Array
  | Float32Array
  | Uint16Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint8Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

const BITS: Readonly<Record<DType, number>> = {
  f64: 64,
  f32: 32,
  f16: 16,
  bf16: 16,
  i64: 64,
  i32: 32,
  i16: 16,
  i8: 8,
  u64: 64,
  u32: 32,
  u16: 16,
  u8: 8,
  bool: 8,
  i4: 4,
  u4: 4,
};

/** Bytes that `count` elements take, packed as ONNX and safetensors pack them (two 4-bit values a byte). */
export function byteLength(dtype: DType, count: number): number {
  return Math.ceil((BITS[dtype] * count) / 8);
}

/** A view of `bytes` as the elements of `dtype`; copies only when the bytes are not aligned to the element size. */
export function typedView(dtype: DType, bytes: Uint8Array): TypedArray {
  const size = Math.max(1, BITS[dtype] / 8);
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  const length = aligned.byteLength / size;
  const at = [aligned.buffer as ArrayBuffer, aligned.byteOffset, length] as const;
  switch (dtype) {
    case "f64":
      return new Float64Array(...at);
    case "f32":
      return new Float32Array(...at);
    case "f16":
    case "bf16":
    case "u16":
      return new Uint16Array(...at);
    case "i64":
      return new BigInt64Array(...at);
    case "u64":
      return new BigUint64Array(...at);
    case "i32":
      return new Int32Array(...at);
    case "u32":
      return new Uint32Array(...at);
    case "i16":
      return new Int16Array(...at);
    case "i8":
      return new Int8Array(...at);
    default:
      return new Uint8Array(...at);
  }
}
