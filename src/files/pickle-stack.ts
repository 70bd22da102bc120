/** The stack of a pickle's machine, and what its opcodes do to the containers on it. */

import { isKind, type PickleDict, type PickleList, type PickleTuple, type PickleValue } from "./pickle-values.ts";

const MARK = Symbol("mark");

export interface PickleStack {
  readonly push: (value: PickleValue) => void;
  readonly pushMark: () => void;
  readonly pop: () => PickleValue;
  /** The uppermost value, which stays. */
  readonly top: () => PickleValue;
  /** All values above the uppermost mark, which goes with them. */
  readonly popMark: () => PickleValue[];
  readonly size: () => number;
}

/** `damaged` throws; it is told what is wrong. */
export function pickleStack(damaged: (problem: string) => never): PickleStack {
  const stack: (PickleValue | typeof MARK)[] = [];
  const whole = (value: PickleValue | typeof MARK | undefined): PickleValue =>
    value === undefined || value === MARK ? damaged("its stack is empty") : value;
  return {
    push: (value) => void stack.push(value),
    pushMark: () => void stack.push(MARK),
    pop: () => whole(stack.pop()),
    top: () => whole(stack.at(-1)),
    popMark: () => {
      const mark = stack.lastIndexOf(MARK);
      if (mark < 0) return damaged("a mark is missing");
      const values = stack.splice(mark + 1) as PickleValue[];
      stack.pop();
      return values;
    },
    size: () => stack.length,
  };
}

export function emptyList(items: PickleValue[] = []): PickleList {
  return { kind: "list", items };
}

export function emptyDict(): PickleDict {
  return { kind: "dict", items: new Map() };
}

/** The uppermost `count` values as a tuple. */
export function popTuple(stack: PickleStack, count: number): PickleTuple {
  const items: PickleValue[] = [];
  for (let i = 0; i < count; i++) items.unshift(stack.pop());
  return { kind: "tuple", items };
}

export function append(list: PickleValue, values: readonly PickleValue[], damaged: (problem: string) => never): void {
  if (!isKind(list, "list")) throw damaged("it appends to something that is no list");
  for (const value of values) list.items.push(value);
}

/** `pairs` are keys and values by turns. */
export function setItems(
  dict: PickleValue,
  pairs: readonly PickleValue[],
  { damaged, refuse }: Record<"damaged" | "refuse", (what: string) => never>,
): void {
  if (!isKind(dict, "dict")) throw damaged("it sets an item of something that is no dictionary");
  if (pairs.length % 2 !== 0) damaged("a key has no value");
  for (let i = 0; i < pairs.length; i += 2) {
    const key = pairs[i]!;
    if (typeof key === "object" && key !== null) throw refuse("a dictionary whose keys are no plain values");
    dict.items.set(key, pairs[i + 1]!);
  }
}
