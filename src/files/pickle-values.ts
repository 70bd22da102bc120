/** What a pickle holds. */

export type PickleKey = string | number | bigint | boolean | null;

export type PickleValue = PickleKey | Uint8Array | PickleList | PickleTuple | PickleDict | PickleGlobal | PickleObject;

export interface PickleList {
  readonly kind: "list";
  readonly items: PickleValue[];
}

export interface PickleTuple {
  readonly kind: "tuple";
  readonly items: readonly PickleValue[];
}

export interface PickleDict {
  readonly kind: "dict";
  readonly items: Map<PickleKey, PickleValue>;
}

/** A name that the caller allowed; it stands for a type or function and is never looked up. */
export interface PickleGlobal {
  readonly kind: "global";
  readonly name: string;
}

/** Something that the caller made, of a `type` that the caller knows. */
export interface PickleObject {
  readonly kind: "object";
  readonly type: string;
}

/** Whether a value is a container or object of this kind. */
export function isKind<K extends "list" | "tuple" | "dict" | "global" | "object">(
  value: PickleValue,
  kind: K,
): value is Extract<PickleValue, { readonly kind: K }> {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === kind;
}
