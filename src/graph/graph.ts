/**
 * The graph: values, nodes and ops. A graph is built by calling ops on values, is never changed afterwards, and is
 * run only after `runtime/` has lowered it; nothing here computes.
 */

import { GraphError } from "../errors.ts";
import type { DType } from "../tensor/dtype.ts";
import type { StoredTensor, Tensor } from "../tensor/tensor.ts";

export interface TensorType {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** One output of a node: what ops take and return. */
export interface Value extends TensorType {
  readonly node: Node;
  /** Which output of the node, from 0. */
  readonly output: number;
}

export interface Node {
  readonly op: Op;
  readonly inputs: readonly Value[];
  readonly attributes: Attributes;
  readonly outputs: readonly Value[];
}

// biome-ignore lint/complexity/noBannedTypes: attributes are whatever record an op declares
export type Attributes = {};

/**
 * An op: its shape rule and its gradient, side by side. `type` is the ONNX operator that it lowers to, unless
 * `runtime/lowering.ts` says otherwise.
 */
export interface Op<A extends Attributes = Attributes> {
  readonly type: string;
  /** Types of the outputs; throws GraphError when the inputs do not fit. */
  infer(inputs: readonly TensorType[], attributes: A): readonly TensorType[];
  /**
   * Gradients with respect to the inputs, in their order, in the same ops: null where nothing flows (indices, masks).
   * A gradient may have the broadcast shape of the output: the engine sums it back to its input's shape.
   * An op without this method cannot be differentiated.
   */
  gradient?(at: GradientContext<A>): readonly (Value | null)[];
}

export interface GradientContext<A extends Attributes = Attributes> {
  /** Gradient of the first output. */
  readonly dy: Value;
  /** Gradients of all outputs; null where none arrived. */
  readonly dys: readonly (Value | null)[];
  readonly y: readonly Value[];
  readonly x: readonly Value[];
  readonly attributes: A;
}

/** Adds a node to the graph and returns its outputs. */
export function applyAll<A extends Attributes>(op: Op<A>, inputs: readonly Value[], attributes: A): readonly Value[] {
  const types = op.infer(inputs, attributes);
  const outputs: Value[] = [];
  const node: Node = { op: op as Op, inputs, attributes, outputs };
  types.forEach((type, output) => {
    outputs.push({ dtype: type.dtype, shape: type.shape, node, output });
  });
  return outputs;
}

/** Adds a node and returns its first output. */
export function apply<A extends Attributes>(op: Op<A>, inputs: readonly Value[], attributes: A): Value {
  return applyAll(op, inputs, attributes)[0]!;
}

export interface InputAttributes extends TensorType {
  readonly name: string;
  /** Whether it is a tensor in training: what recomputed segments differentiate by. */
  readonly trainable: boolean;
}

const Input: Op<InputAttributes> = { type: "Input", infer: (_inputs, { dtype, shape }) => [{ dtype, shape }] };

/** A tensor that the caller supplies at every run: token ids, masks, trainable tensors. */
export function input(name: string, dtype: DType, shape: readonly number[], trainable = false): Value {
  return apply(Input, [], { name, dtype, shape, trainable });
}

export interface StoredAttributes {
  readonly name: string;
  readonly tensor: StoredTensor;
}

const Stored: Op<StoredAttributes> = {
  type: "Stored",
  infer: (_inputs, { tensor }) => [{ dtype: tensor.dtype, shape: tensor.shape }],
};

/** A frozen tensor that stays in its file; the runtime maps it. */
export function stored(name: string, tensor: StoredTensor): Value {
  return apply(Stored, [], { name, tensor });
}

export interface ConstantAttributes {
  readonly tensor: Tensor;
}

const Constant: Op<ConstantAttributes> = {
  type: "Constant",
  infer: (_inputs, { tensor }) => [{ dtype: tensor.dtype, shape: tensor.shape }],
};

/** A small tensor that is part of the graph. */
export function constant(tensor: Tensor): Value {
  return apply(Constant, [], { tensor });
}

/** A float32 scalar that is part of the graph. */
export function scalar(value: number): Value {
  return constant({ dtype: "f32", shape: [], data: Float32Array.of(value) });
}

/** An int32 or int64 list that is part of the graph. */
export function integers(values: readonly number[], dtype: "i32" | "i64" = "i64"): Value {
  const data = dtype === "i32" ? Int32Array.from(values) : BigInt64Array.from(values, BigInt);
  return constant({ dtype, shape: [values.length], data });
}

/** The nodes that `values` need, each after its inputs. Iterative: training graphs are thousands of nodes deep. */
export function topological(values: readonly Value[]): Node[] {
  const order: Node[] = [];
  const state = new Map<Node, "open" | "done">();
  const stack: Node[] = [];
  for (const root of values) {
    stack.push(root.node);
    while (stack.length > 0) {
      const node = stack.at(-1)!;
      const seen = state.get(node);
      if (seen === "done") {
        stack.pop();
      } else if (seen === "open") {
        state.set(node, "done");
        order.push(node);
        stack.pop();
      } else {
        state.set(node, "open");
        for (let i = node.inputs.length - 1; i >= 0; i--) {
          const next = node.inputs[i]!.node;
          if (!state.has(next)) stack.push(next);
        }
      }
    }
  }
  return order;
}

/** The attributes of a source node, when `value` is an output of a node of that kind. */
export function inputOf(value: Value): InputAttributes | null {
  return value.node.op.type === "Input" ? (value.node.attributes as InputAttributes) : null;
}

export function storedOf(value: Value): StoredAttributes | null {
  return value.node.op.type === "Stored" ? (value.node.attributes as StoredAttributes) : null;
}

export function constantOf(value: Value): ConstantAttributes | null {
  return value.node.op.type === "Constant" ? (value.node.attributes as ConstantAttributes) : null;
}

/** Throws GraphError unless `condition` holds; the message names op, found and needed. */
export function demand(condition: boolean, op: string, message: string): asserts condition {
  if (!condition) throw new GraphError(`internal: ${op}: ${message}`);
}
