/**
 * Our ops as ONNX operators. Most lower to the operator of the same name; this table holds the others.
 * Opset 21: the newest whose every operator here has a kernel on both CPU and WebGPU.
 */

import { GraphError } from "../errors.ts";
import type { Node, TensorType } from "../graph/graph.ts";
import type { AttentionAttributes } from "../graph/ops/attention.ts";
import type { ConvAttributes, TransposeAttributes } from "../graph/ops/conv.ts";
import type { MatMulAttributes } from "../graph/ops/matmul.ts";
import type { DType } from "../tensor/dtype.ts";
import { sameShape } from "../tensor/shape.ts";
import { type Emitter, flag, integer, MICROSOFT, type Rule } from "./emitter.ts";
import { BLOCK_RULES } from "./lower-blocks.ts";
import { ELEMENT_CODE } from "./onnx.ts";

export const OPSET = 21;

/** Pixels from which on a convolution's image gradient is a convolution itself. */
const TURNED = 1024;
/** Rows from which on a product and a sum are faster than both in one. */
const SUMMED = 8;
/** For slices that go backwards: before the first element. */
const TO_START = -(2 ** 31);

const plain: Rule = (node, inputs, { emit }) => {
  emit(node.op.type, inputs);
};

const reduction: Rule = (node, inputs, { emit, list }) => {
  emit(node.op.type, [...inputs, list(axesOf(node))], { keepdims: 1n });
};

function product(
  inputs: readonly string[],
  { transA, transB, alpha }: MatMulAttributes,
  { emit }: Emitter,
  as: { readonly fresh?: boolean } = {},
): string {
  if (!transA && !transB && alpha === 1) return emit("MatMul", inputs, {}, as);
  const attributes = { transA: flag(transA), transB: flag(transB), alpha };
  return emit("FusedMatMul", inputs, attributes, { ...MICROSOFT, ...as });
}

/** ReduceMax and ReduceMin take no axes input before opset 18; they do here. */
const RULES: Readonly<Record<string, Rule>> = {
  Add: plain,
  Sub: plain,
  Mul: plain,
  Div: plain,
  Max: plain,
  Neg: plain,
  Abs: plain,
  Exp: plain,
  Log: plain,
  Sqrt: plain,
  Reciprocal: plain,
  Greater: plain,
  GreaterOrEqual: plain,
  Less: plain,
  Equal: plain,
  And: plain,
  Or: plain,
  Where: plain,
  Tanh: plain,
  Sigmoid: plain,
  Relu: plain,
  Erf: plain,
  ReduceSum: reduction,
  ReduceMean: reduction,
  ReduceMax: reduction,
  ReduceMin: reduction,
  Softmax: (_node, inputs, { emit }) => void emit("Softmax", inputs, { axis: -1n }),
  Gelu: (node, inputs, { emit }) =>
    void emit("Gelu", inputs, { approximate: (node.attributes as { approximate: string }).approximate }),
  Silu: (_node, inputs, { emit }) => void emit("QuickGelu", inputs, { alpha: 1 }, MICROSOFT),
  LayerNormalization: (node, inputs, { emit }) =>
    void emit("LayerNormalization", inputs, { axis: -1n, epsilon: epsilonOf(node) }),
  SimplifiedLayerNormalization: (node, inputs, { emit }) =>
    void emit("SimplifiedLayerNormalization", inputs, { axis: -1n, epsilon: epsilonOf(node), stash_type: 1n }),
  MatMul: (node, inputs, emitter) => void product(inputs, node.attributes as MatMulAttributes, emitter),
  Gemm: (node, inputs, emitter) => {
    const { transA, transB, alpha } = node.attributes as MatMulAttributes;
    const { shape } = node.inputs[2]!;
    if (shape.length < 2 || shape[0]! < SUMMED) {
      emitter.emit("Gemm", inputs, { transA: flag(transA), transB: flag(transB), alpha, beta: 1 });
      return;
    }
    // The operator copies a whole matrix c on one thread before it begins.
    const [a, b, c] = inputs as [string, string, string];
    emitter.emit("Add", [product([a, b], node.attributes as MatMulAttributes, emitter, { fresh: true }), c]);
  },
  Reshape: (node, [x], { emit, list }) => void emit("Reshape", [x!, list(node.outputs[0]!.shape)], { allowzero: 1n }),
  Expand: (node, [x], { emit, list }) => void emit("Expand", [x!, list(node.outputs[0]!.shape)]),
  Transpose: (node, inputs, { emit }) =>
    void emit("Transpose", inputs, { perm: (node.attributes as { permutation: readonly number[] }).permutation }),
  Slice: (node, [x], { emit, list }) => {
    const { axis, start, end } = node.attributes as { axis: number; start: number; end: number };
    emit("Slice", [x!, list([start]), list([end]), list([axis])]);
  },
  Concat: (node, inputs, { emit }) => void emit("Concat", inputs, { axis: integer(node, "axis") }),
  Split: (node, [x], { emit, list }) =>
    void emit("Split", [x!, list((node.attributes as { sizes: readonly number[] }).sizes)], {
      axis: integer(node, "axis"),
    }),
  Cast: (node, inputs, { emit }) =>
    void emit("Cast", inputs, { to: BigInt(ELEMENT_CODE[(node.attributes as { to: DType }).to]) }),
  Gather: (_node, inputs, { emit }) => void emit("Gather", inputs, { axis: 0n }),
  ScatterRows: (node, [base, indices, updates], { emit }) => {
    const wide = { to: BigInt(ELEMENT_CODE.i64) }; // the operator takes no others
    const at = node.inputs[1]!.dtype === "i64" ? indices! : emit("Cast", [indices!], wide, { fresh: true });
    emit("ScatterND", [base!, at, updates!], { reduction: "add" });
  },
  GatherElements: (_node, inputs, { emit }) => void emit("GatherElements", inputs, { axis: -1n }),
  ScatterElements: (_node, inputs, { emit }) => void emit("ScatterElements", inputs, { axis: -1n, reduction: "add" }),
  TopK: (node, [x], { emit, list }) =>
    void emit("TopK", [x!, list([Number(integer(node, "k"))])], { axis: -1n, sorted: 0n }),
  // A row is a block: the operator's rows are made on one thread, its blocks on all.
  QuantizeRows: (node, inputs, { emit }) =>
    void emit("QuantizeLinear", inputs, { axis: 1n, block_size: BigInt(node.inputs[0]!.shape[1]!) }),
  IntegerMatMul: (_node, inputs, { emit }) => void emit("MatMulIntegerToFloat", inputs, {}, MICROSOFT),
  Conv: (node, inputs, { emit }) => {
    const { stride, pads, dilation } = node.attributes as ConvAttributes;
    emit("Conv", inputs, { strides: [stride, stride], pads, dilations: [dilation, dilation] });
  },
  ConvTranspose: (node, inputs, { emit, list }) => {
    const { stride, pads, dilation, size } = node.attributes as TransposeAttributes;
    const [dy, kernel] = node.inputs as readonly TensorType[] as readonly [TensorType, TensorType];
    const reach = kernel.shape.slice(2).map((taps) => dilation * (taps - 1));
    // Where each convolution needs zeros at its beginning, then at its end.
    const around = [reach[0]! - pads[2], reach[1]! - pads[3], reach[0]! - pads[0], reach[1]! - pads[1]];
    if (stride === 1 && size[0] * size[1] >= TURNED && around.every((each) => each >= 0)) {
      // The same as a convolution between two half turns, with the kernel's two channels exchanged: three times as fast on
      // the CPU as ConvTranspose, once the image is as large as the exchange is worth.
      const fresh = { fresh: true };
      const turn = [list([-1, -1]), list([TO_START, TO_START]), list([2, 3]), list([-1, -1])];
      const turned = emit("Slice", [inputs[0]!, ...turn], {}, fresh);
      const exchanged = emit("Transpose", [inputs[1]!], { perm: [1, 0, 2, 3] }, fresh);
      const options = { strides: [1, 1], pads: around, dilations: [dilation, dilation] };
      emit("Slice", [emit("Conv", [turned, exchanged], options, fresh), ...turn]);
      return;
    }
    // What the stride leaves over at the far edges.
    const rest = size.map((extent, i) => {
      const reached = (dy.shape[i + 2]! - 1) * stride + dilation * (kernel.shape[i + 2]! - 1) + 1;
      return extent + pads[i]! + pads[i + 2]! - reached;
    });
    emit("ConvTranspose", inputs, {
      strides: [stride, stride],
      pads,
      dilations: [dilation, dilation],
      output_padding: rest,
    });
  },
  Resize: (node, [x], { emit, list }) => {
    const modes = { mode: "nearest", coordinate_transformation_mode: "asymmetric", nearest_mode: "floor" };
    emit("Resize", [x!, "", "", list(node.outputs[0]!.shape)], modes);
  },
  AveragePool: (node, inputs, { emit }) => {
    const { window } = node.attributes as { window: number };
    emit("AveragePool", inputs, { kernel_shape: [window, window], strides: [window, window] });
  },
  RotaryEmbedding: (node, [x, rows, cos, sin], { emit }) => {
    const [{ shape }, , { shape: angles }] = node.inputs as readonly TensorType[] as readonly [
      TensorType,
      TensorType,
      TensorType,
    ];
    const turned = 2 * angles[1]!;
    const part = turned < shape[3]! ? { rotary_embedding_dim: BigInt(turned), num_heads: BigInt(shape[1]!) } : {};
    const wide = emit("Cast", [rows!], { to: BigInt(ELEMENT_CODE.i64) }, { fresh: true }); // the operator takes no others
    emit("RotaryEmbedding", [x!, wide, cos!, sin!], { interleaved: 0n, ...part }, MICROSOFT);
  },
  Attention: (node, inputs, { emit }) => {
    const { heads, scale } = node.attributes as AttentionAttributes;
    emit("MultiHeadAttention", inputs, { num_heads: BigInt(heads), scale }, MICROSOFT);
  },
  ...BLOCK_RULES,
  // x reshaped to its own shape, which is computed from the gate's: known only when the gate is.
  After: (node, [x, gate], { emit, list }) => {
    const fresh = { fresh: true };
    const [{ shape }, { shape: gateShape }] = node.inputs as readonly TensorType[] as readonly [TensorType, TensorType];
    const found = emit("Shape", [gate!], {}, fresh);
    if (sameShape(shape, gateShape)) return void emit("Reshape", [x!, found]);
    const none = emit("ReduceSum", [emit("Mul", [found, list([0])], {}, fresh)], { keepdims: 0n }, fresh);
    emit("Reshape", [x!, emit("Add", [list(shape), none], {}, fresh)]);
  },
};

/** How a device lowers what it lowers in a way of its own, by op. */
export type DeviceRules = Readonly<Record<string, Rule>>;

export function lowerNode(node: Node, inputs: readonly string[], emitter: Emitter, device: DeviceRules = {}): void {
  const rule = device[node.op.type] ?? RULES[node.op.type];
  if (!rule) throw new GraphError(`internal: ${node.op.type} has no lowering; add one to runtime/lowering.ts`);
  rule(node, inputs, emitter);
}

function axesOf(node: Node): readonly number[] {
  return (node.attributes as { axes: readonly number[] }).axes;
}

function epsilonOf(node: Node): number {
  return (node.attributes as { epsilon: number }).epsilon;
}
