/** Graph → ONNX model: names the values, lowers the nodes, keeps frozen tensors in their files. */

import { GraphError } from "../errors.ts";
import { constantOf, inputOf, type Node, storedOf, topological, type Value } from "../graph/graph.ts";
import type { StoredTensor, Tensor } from "../tensor/tensor.ts";
import type { Emitter } from "./emitter.ts";
import { type DeviceRules, lowerNode, OPSET } from "./lowering.ts";
import { ELEMENT_CODE, type OnnxModel, type OnnxNode, type ValueType } from "./onnx.ts";

/** Values to compute, by the names that a run returns them under. */
export type Outputs = ReadonlyMap<string, Value>;

export interface LoweringOptions {
  /** Keeps equal constants apart and notes every value's type, so that models of other sizes can be compared. */
  readonly probe?: boolean;
  /** A device's own lowerings. Stored tensors are then float32 inputs, which lie in its memory. */
  readonly device?: DeviceRules;
}

export function toOnnx(outputs: Outputs, { probe = false, device }: LoweringOptions = {}): OnnxModel {
  const nodes: OnnxNode[] = [];
  const inputs = new Map<string, Value>();
  const constants = new Map<string, Tensor>();
  const values = new Map<string, ValueType>();
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
      scalar: (value) => constantName({ dtype: "f32", shape: [], data: Float32Array.of(value) }),
    };
    lowerNode(node, node.inputs.map(nameOf), emitter, device);
  };

  /** The name of a value that a node reads. A decoded weight is decoded anew for each reader, not held between them. */
  const nameOf = (value: Value): string => {
    if (decodesWeight(value.node)) {
      if (device && value.node.op.type === "Cast") return nameOf(value.node.inputs[0]!);
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
      if (probe) for (const each of node.outputs) values.set(nameOf(each), device ? widened(each) : each);
    }
  }
  for (const [name, value] of outputs) {
    const named = { domain: "", inputs: [nameOf(value)], outputs: [name] };
    // Devices name numbers, but no booleans.
    if (device && value.dtype === "bool")
      nodes.push({ ...named, type: "Cast", attributes: { to: BigInt(ELEMENT_CODE.bool) } });
    else nodes.push({ ...named, type: "Identity", attributes: {} });
  }
  return { opset: OPSET, nodes, inputs, outputs, values, constants, stored };
}

const DECODERS: ReadonlySet<string> = new Set(["Cast", "DequantizeLinear", "LookUpBlocks"]);

/** The type of a value on a device, where what is stored in 16 bits is float32. */
function widened({ dtype, shape }: Value): ValueType {
  return { dtype: dtype === "f16" || dtype === "bf16" ? "f32" : dtype, shape };
}

/** True for a node that only turns a stored tensor into float32: cheaper to repeat than to keep. */
export function decodesWeight(node: Node): boolean {
  return DECODERS.has(node.op.type) && node.inputs.every((from) => storedOf(from) !== null);
}
