/** What rules of lowering are written with. */

import type { Node } from "../graph/graph.ts";
import type { OnnxAttribute } from "./onnx.ts";

/** What a rule may do: emit operators, and name small integer lists and numbers. */
export interface Emitter {
  /** Adds an operator whose outputs are the node's own, or one of them, or, with `fresh`, one new name; the first is returned. */
  emit(
    type: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, OnnxAttribute>>,
    more?: EmitOptions,
  ): string;
  /** The name of an int64 list constant. */
  list(values: readonly number[]): string;
  /** The name of a float32 constant. */
  scalar(value: number): string;
}

export interface EmitOptions {
  readonly domain?: string;
  readonly fresh?: boolean;
  /** Which of the node's outputs the operator makes; absent: all of them. */
  readonly output?: number;
}

export type Rule = (node: Node, inputs: readonly string[], emitter: Emitter) => void;

export const MICROSOFT = { domain: "com.microsoft" } as const;

/** A yes or no as ONNX writes it. */
export function flag(on: boolean): bigint {
  return on ? 1n : 0n;
}

/** A whole number among the node's attributes. */
export function integer(node: Node, name: string): bigint {
  return BigInt((node.attributes as Readonly<Record<string, number>>)[name]!);
}
