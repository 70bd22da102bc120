/** What WebGPU lowers in a way of its own: it lacks kernels for some operators and some element types. */

import type { TensorType } from "../graph/graph.ts";
import type { MatMulAttributes } from "../graph/ops/matmul.ts";
import { sameShape } from "../tensor/shape.ts";
import { type Emitter, flag, type Rule } from "./emitter.ts";
import type { DeviceRules } from "./lowering.ts";
import { ELEMENT_CODE } from "./onnx.ts";

const FRESH = { fresh: true } as const;

export const WEBGPU_RULES: DeviceRules = {
  // There is no product with transposed operands but for matrices.
  MatMul: (node, [a, b], { emit, scalar }) => {
    const { transA, transB, alpha } = node.attributes as MatMulAttributes;
    const [left, right] = node.inputs as readonly TensorType[] as readonly [TensorType, TensorType];
    if (!transA && !transB && alpha === 1) return void emit("MatMul", [a!, b!]);
    if (left.shape.length === 2 && right.shape.length === 2) {
      return void emit("Gemm", [a!, b!], { transA: flag(transA), transB: flag(transB), alpha });
    }
    const turned = (name: string, { shape }: TensorType, on: boolean): string =>
      on ? emit("Transpose", [name], { perm: lastTwoSwapped(shape.length) }, FRESH) : name;
    const operands = [turned(a!, left, transA), turned(b!, right, transB)];
    if (alpha === 1) return void emit("MatMul", operands);
    emit("Mul", [emit("MatMul", operands, {}, FRESH), scalar(alpha)]);
  },
  Gemm: (node, inputs, { emit }) => {
    const { transA, transB, alpha } = node.attributes as MatMulAttributes;
    emit("Gemm", inputs, { transA: flag(transA), transB: flag(transB), alpha, beta: 1 });
  },
  // The operator's second output is not what it is on the CPU.
  SimplifiedLayerNormalization: (node, [x, gain], { emit, list, scalar }) => {
    const { epsilon } = node.attributes as { epsilon: number };
    emit("SimplifiedLayerNormalization", [x!, gain!], { axis: -1n, epsilon, stash_type: 1n }, { output: 0 });
    const squares = emit("ReduceMean", [emit("Mul", [x!, x!], {}, FRESH), list([-1])], { keepdims: 1n }, FRESH);
    const root = emit("Sqrt", [emit("Add", [squares, scalar(epsilon)], {}, FRESH)], {}, FRESH);
    emit("Reciprocal", [root], {}, { output: 1 });
  },
  // The operator takes int64 positions.
  RotaryEmbedding: (node, [x, rows, cos, sin], { emit, list }) => {
    const [{ shape }, , { shape: angles }] = node.inputs as readonly TensorType[] as readonly [
      TensorType,
      TensorType,
      TensorType,
    ];
    const [B = 0, , T = 0, D = 0] = shape;
    const half = angles[1]!;
    const made = (type: string, inputs: readonly string[], attributes = {}): string =>
      emit(type, inputs, attributes, FRESH);
    const part = (from: number, to: number): string => made("Slice", [x!, list([from]), list([to]), list([3])]);
    const table = (of: string): string =>
      made("Reshape", [made("Gather", [of, rows!], { axis: 0n }), list([B, 1, T, half])]);
    const [first, second, c, s] = [part(0, half), part(half, 2 * half), table(cos!), table(sin!)];
    const turned = [
      made("Sub", [made("Mul", [first, c]), made("Mul", [second, s])]),
      made("Add", [made("Mul", [second, c]), made("Mul", [first, s])]),
    ];
    emit("Concat", 2 * half < D ? [...turned, part(2 * half, D)] : turned, { axis: 3n });
  },
  // Slices are of float32 alone; indices and labels are exact in it up to 2^24.
  Slice: (node, [x], { emit, list }) => {
    const { axis, start, end } = node.attributes as { axis: number; start: number; end: number };
    const part = [list([start]), list([end]), list([axis])];
    const { dtype } = node.inputs[0]!;
    if (dtype === "f32") return void emit("Slice", [x!, ...part]);
    const floats = cast(x!, "f32", emit);
    emit("Cast", [emit("Slice", [floats, ...part], {}, FRESH)], { to: BigInt(ELEMENT_CODE[dtype]) });
  },
  Or: asIntegers("Max", "bool"),
  Equal: (node, inputs, emitter) => {
    if (node.inputs[0]!.dtype === "bool") asIntegers("Equal")(node, inputs, emitter);
    else emitter.emit("Equal", inputs);
  },
  // Shapes are computed on the host, where only the shape of a tensor can be had for nothing.
  After: (node, [x, gate], { emit }) => {
    const [{ shape }, { shape: gateShape }] = node.inputs as readonly TensorType[] as readonly [TensorType, TensorType];
    if (sameShape(shape, gateShape)) emit("Reshape", [x!, emit("Shape", [gate!], {}, FRESH)]);
    else emit("Expand", [x!, emit("Shape", [gate!], { start: 0n, end: 0n }, FRESH)]); // to no shape: its own
  },
};

/** An op of booleans computed of int32; the result is cast to `to`. */
function asIntegers(type: string, to?: "bool"): Rule {
  return (_node, inputs, { emit }) => {
    const integers = inputs.map((name) => cast(name, "i32", emit));
    if (to) emit("Cast", [emit(type, integers, {}, FRESH)], { to: BigInt(ELEMENT_CODE[to]) });
    else emit(type, integers);
  };
}

function cast(name: string, to: "f32" | "i32", emit: Emitter["emit"]): string {
  return emit("Cast", [name], { to: BigInt(ELEMENT_CODE[to]) }, FRESH);
}

function lastTwoSwapped(rank: number): number[] {
  return Array.from({ length: rank }, (_, axis) => (axis < rank - 2 ? axis : 2 * rank - 3 - axis));
}
