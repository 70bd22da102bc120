/** Graph → ONNX model: names the values, lowers the nodes, keeps frozen tensors in their files. */

import { GraphError } from "../errors.ts";
import { constantOf, inputOf, type Node, storedOf, topological, type Value } from "../graph/graph.ts";
import type { StoredTensor, Tensor } from "../tensor/tensor.ts";
import type { Emitter } from "./emitter.ts";
import { lowerNode, OPSET } from "./lowering.ts";
import type { OnnxModel, OnnxNode } from "./onnx.ts";

/** Values to compute, by the names that a run returns them under. */
export type Outputs = ReadonlyMap<string, Value>;

/** `probe` keeps equal constants apart and notes every value's type, so that models of other sizes can be compared. */
export function toOnnx(outputs: Outputs, { probe = false }: { readonly probe?: boolean } = {}): OnnxModel {
  const nodes: OnnxNode[] = [];
  const inputs = new Map<string, Value>();
  const constants = new Map<string, Tensor>();
  const values = new Map<string, Value>();
  const stored = new Map<string, StoredTensor>();
  const names = new Map<Value, string>();
  const known = new Map<string, string>(); // content of a constant → its name
  let count = 0;

  const fresh = (): string => `%${count++}`; // no tensor of a checkpoint is named so

  const constantName = (tensor: Tensor): string => {
    if (probe || tensor.data.length > 16) {
      const name = fresh();
      constants.set(name, tensor);
      return name;
    }
    const { buffer, byteOffset, byteLength } = tensor.data;
    const content = `${tensor.dtype}[${tensor.shape}]${new Uint8Array(buffer, byteOffset, byteLength).join()}`;
    const held = known.get(content);
    if (held) return held;
    const name = fresh();
    constants.set(name, tensor);
    known.set(content, name);
    return name;
  };

  const lower = (node: Node, results: readonly string[]): void => {
    const emitter: Emitter = {
      emit: (type, from, attributes = {}, { domain = "", fresh: isFresh = false } = {}) => {
        const to = isFresh ? [fresh()] : results;
        nodes.push({ type, domain, inputs: from, outputs: to, attributes });
        return to[0]!;
      },
      list: (values) =>
        constantName({ dtype: "i64", shape: [values.length], data: BigInt64Array.from(values, BigInt) }),
    };
    lowerNode(node, node.inputs.map(nameOf), emitter);
  };

  /** The name of a value that a node reads. A decoded weight is decoded anew for each reader, not held between them. */
  const nameOf = (value: Value): string => {
    if (decodesWeight(value.node)) {
      const results = value.node.outputs.map(fresh);
      lower(value.node, results);
      return results[value.output]!;
    }
    const name = names.get(value);
    if (name === undefined) throw new GraphError(`internal: ${value.node.op.type} is read before it is computed`);
    return name;
  };

  for (const node of topological([...outputs.values()])) {
    const value = node.outputs[0]!;
    const source = inputOf(value);
    const file = storedOf(value);
    const small = constantOf(value);
    if (source) {
      inputs.set(source.name, value);
      names.set(value, source.name);
    } else if (file) {
      stored.set(file.name, file.tensor);
      names.set(value, file.name);
    } else if (small) {
      names.set(value, constantName(small.tensor));
    } else if (node.op.type === "WithGradient") {
      names.set(value, nameOf(node.inputs[0]!));
    } else if (!decodesWeight(node)) {
      node.outputs.forEach((each) => {
        names.set(each, fresh());
      });
      lower(node, node.outputs.map(nameOf));
      if (probe) for (const each of node.outputs) values.set(nameOf(each), each);
    }
  }
  for (const [name, value] of outputs) {
    nodes.push({ type: "Identity", domain: "", inputs: [nameOf(value)], outputs: [name], attributes: {} });
  }
  return { opset: OPSET, nodes, inputs, outputs, values, constants, stored };
}

const DECODERS: ReadonlySet<string> = new Set(["Cast", "DequantizeLinear", "LookUpBlocks"]);

/** True for a node that only turns a stored tensor into float32: cheaper to repeat than to keep. */
export function decodesWeight(node: Node): boolean {
  return DECODERS.has(node.op.type) && node.inputs.every((from) => storedOf(from) !== null);
}
