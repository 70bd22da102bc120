/** The element types that safetensors files store. */

import type { DType } from "../tensor/dtype.ts";

export interface StoredType {
  /** Bits of one element. */
  readonly bits: number;
  /** Null for a type that the format knows but that this library cannot compute with. */
  readonly dtype: DType | null;
}

/**
 * By name, in the order of the reference's `Dtype` enum (safetensors 0.8.0): the writer puts the last ones first, so
 * that wide types are aligned.
 */
export const STORED_TYPES: ReadonlyMap<string, StoredType> = new Map<string, StoredType>([
  ["BOOL", { bits: 8, dtype: "bool" }],
  ["F4", { bits: 4, dtype: null }],
  ["F6_E2M3", { bits: 6, dtype: null }],
  ["F6_E3M2", { bits: 6, dtype: null }],
  ["U8", { bits: 8, dtype: "u8" }],
  ["I8", { bits: 8, dtype: "i8" }],
  ["F8_E5M2", { bits: 8, dtype: null }],
  ["F8_E4M3", { bits: 8, dtype: null }],
  ["F8_E8M0", { bits: 8, dtype: null }],
  ["F8_E4M3FNUZ", { bits: 8, dtype: null }],
  ["F8_E5M2FNUZ", { bits: 8, dtype: null }],
  ["I16", { bits: 16, dtype: "i16" }],
  ["U16", { bits: 16, dtype: "u16" }],
  ["F16", { bits: 16, dtype: "f16" }],
  ["BF16", { bits: 16, dtype: "bf16" }],
  ["I32", { bits: 32, dtype: "i32" }],
  ["U32", { bits: 32, dtype: "u32" }],
  ["F32", { bits: 32, dtype: "f32" }],
  ["C64", { bits: 64, dtype: null }],
  ["F64", { bits: 64, dtype: "f64" }],
  ["I64", { bits: 64, dtype: "i64" }],
  ["U64", { bits: 64, dtype: "u64" }],
]);
