/** Lowering of products with weights in blocks (graph/ops/blocks.ts). */

import { integer, MICROSOFT, type Rule } from "./emitter.ts";
import { ELEMENT_CODE } from "./onnx.ts";

export const BLOCK_RULES: Readonly<Record<string, Rule>> = {
  DequantizeLinear: (node, [codes, scales, zeros, middles], { emit, list }) => {
    const block = integer(node, "block");
    const attributes = { axis: 1n, block_size: block };
    if (!middles) return void emit("DequantizeLinear", [codes!, scales!, zeros!], attributes);
    const fresh = { fresh: true };
    const [N, K] = node.outputs[0]!.shape as [number, number];
    const blocks = K / Number(block);
    const steps = emit("DequantizeLinear", [codes!, scales!, zeros!], attributes, fresh);
    const blocked = emit("Reshape", [steps, list([N, blocks, Number(block)])], {}, fresh);
    const offsets = emit("Reshape", [middles, list([N, blocks, 1])], {}, fresh);
    emit("Reshape", [emit("Add", [blocked, offsets], {}, fresh), list([N, K])]);
  },
  BlockSums: (node, [x], { emit, list }) => {
    const [M, blocks] = node.outputs[0]!.shape as [number, number];
    const blocked = emit("Reshape", [x!, list([M, blocks, Number(integer(node, "block"))])], {}, { fresh: true });
    emit("ReduceSum", [blocked, list([2])], { keepdims: 0n });
  },
  LookUpBlocks: (node, [codes, scales, quads], { emit, list }) => {
    const fresh = { fresh: true };
    const block = integer(node, "block");
    const [N, K] = node.outputs[0]!.shape as [number, number];
    const blocks = K / Number(block);
    const indices = emit("Cast", [codes!], { to: BigInt(ELEMENT_CODE.i32) }, fresh);
    const values = emit("Gather", [quads!, indices], { axis: 0n }, fresh);
    const blocked = emit("Reshape", [values, list([N, blocks, Number(block)])], {}, fresh);
    const factors = emit("Reshape", [scales!, list([N, blocks, 1])], {}, fresh);
    emit("Reshape", [emit("Mul", [blocked, factors], {}, fresh), list([N, K])]);
  },
  NormalFloatMatMul: (node, inputs, { emit }) => {
    const [[, K], [, N]] = [node.inputs[0]!.shape, node.outputs[0]!.shape] as [number[], number[]];
    const [NF4, block_size] = [1n, integer(node, "block")];
    // transB 0 gives wrong numbers on CPU, without an error.
    emit("MatMulBnb4", inputs, { K: BigInt(K!), N: BigInt(N!), block_size, quant_type: NF4, transB: 1n }, MICROSOFT);
  },
  BlockMatMul: (node, inputs, { emit }) => {
    const { block, rounded } = node.attributes as { block: number; rounded: boolean };
    const [N, , bytes] = node.inputs[1]!.shape as [number, number, number];
    const sizes = { K: BigInt(node.inputs[0]!.shape[1]!), N: BigInt(N), block_size: BigInt(block) };
    const bits = bytes === block ? 8n : 4n;
    emit("MatMulNBits", inputs, { ...sizes, bits, accuracy_level: rounded ? 4n : 0n }, MICROSOFT);
  },
};
