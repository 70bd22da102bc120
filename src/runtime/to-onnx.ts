/** Graph → ONNX model: names the values, lowers the nodes, keeps frozen tensors in their files. */

import { GraphError } from "../errors.ts";
import { constantOf, inputOf, type Node, storedOf, topological, type Value } from "../graph/graph.ts";
import type { ScanAttributes } from "../graph/ops/turns.ts";
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
  let nodes: OnnxNode[] = [];
  // ONNX Runtime runs what a node reads by descending place in the list: weights decoded at its beginning are decoded
  // right before the node that reads them; decoded anywhere else, all of them would be before the first product.
  let decoders: OnnxNode[] = [];
  const inputs = new Map<string, Value>();
  const constants = new Map<string, Tensor>();
  let values = new Map<string, ValueType>();
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

  const lower = (node: Node, results: readonly string[], into = nodes): void => {
    const emitter: Emitter = {
      emit: (type, from, attributes = {}, { domain = "", fresh: isFresh = false, output } = {}) => {
        const to = isFresh ? [fresh()] : output === undefined ? results : [results[output]!];
        into.push({ type, domain, inputs: from, outputs: to, attributes });
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
      lower(value.node, results, decoders);
      return results[value.output]!;
    }
    const name = names.get(value);
    if (name === undefined) throw new GraphError(`internal: ${value.node.op.type} is read before it is computed`);
    return name;
  };

  const own = ownNames(outputs, device !== undefined);

  /** Names the outputs of a node of the graph, or of a body, and lowers it. */
  const place = (node: Node): void => {
    if (node.op.type === "WithGradient") {
      names.set(node.outputs[0]!, nameOf(node.inputs[0]!));
    } else if (!decodesWeight(node)) {
      node.outputs.forEach((each) => {
        names.set(each, own.get(each) ?? fresh());
      });
      if (node.op.type === "Scan") lowerScan(node as Node & { attributes: ScanAttributes });
      else lower(node, node.outputs.map(nameOf));
      if (!probe) return;
      for (const each of node.outputs) if (!own.has(each)) values.set(nameOf(each), device ? widened(each) : each);
    }
  };

  const lowerScan = ({
    inputs: given,
    outputs: made,
    attributes: { held, sliced, body },
  }: Node & { attributes: ScanAttributes }): void => {
    const around = { nodes, decoders, values };
    [nodes, decoders, values] = [[], [], new Map()];
    const slots = new Map<string, ValueType>();
    for (const value of body.inputs) {
      names.set(value, fresh());
      slots.set(nameOf(value), value);
    }
    body.nodes.forEach(place);
    const results = new Map<string, ValueType>();
    const computed = new Set(body.nodes.filter(({ op }) => op.type !== "WithGradient"));
    for (const value of body.outputs) {
      let name = nameOf(value);
      if (computed.has(value.node) && !results.has(name)) values.delete(name);
      else {
        const from = name;
        name = fresh(); // a body's output has a name of its own
        nodes.push({ type: "Identity", domain: "", inputs: [from], outputs: [name], attributes: {} });
      }
      results.set(name, value);
    }
    const inner = { nodes: [...decoders, ...nodes], values, inputs: slots, outputs: results };
    ({ nodes, decoders, values } = around);
    nodes.push({
      type: "Scan",
      domain: "",
      inputs: given.slice(0, held + sliced).map(nameOf),
      outputs: made.map(nameOf),
      attributes: { num_scan_inputs: BigInt(sliced) },
      body: inner,
    });
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
    } else place(node);
  }
  for (const [name, value] of outputs) {
    if (nameOf(value) === name) continue;
    const named = { domain: "", inputs: [nameOf(value)], outputs: [name] };
    // Devices name numbers, but no booleans.
    if (device && value.dtype === "bool")
      nodes.push({ ...named, type: "Cast", attributes: { to: BigInt(ELEMENT_CODE.bool) } });
    else nodes.push({ ...named, type: "Identity", attributes: {} });
  }
  const all = device ? needed(nodes, outputs) : nodes;
  if (device) {
    const made = new Set(all.flatMap((node) => node.outputs));
    for (const name of values.keys()) if (!made.has(name)) values.delete(name);
  }
  return { opset: OPSET, nodes: [...decoders, ...all], inputs, outputs, values, constants, stored };
}

/** The nodes that outputs depend on: a device's rules make results that not every graph reads. */
function needed(nodes: readonly OnnxNode[], outputs: Outputs): OnnxNode[] {
  const read = new Set(outputs.keys());
  return nodes
    .toReversed()
    .filter((node) => {
      const wanted = node.outputs.some((name) => read.has(name));
      if (wanted) for (const name of node.inputs) read.add(name);
      return wanted;
    })
    .toReversed();
}

/** Values that are computed under the very name of an output, which then costs no copy: the first of its names. */
function ownNames(outputs: Outputs, onDevice: boolean): ReadonlyMap<Value, string> {
  const names = new Map<Value, string>();
  for (const [name, output] of outputs) {
    let value = output;
    while (value.node.op.type === "WithGradient") value = value.node.inputs[0]!;
    const given = inputOf(value) ?? storedOf(value) ?? constantOf(value);
    if (given || decodesWeight(value.node) || (onDevice && value.dtype === "bool")) continue;
    if (!names.has(value)) names.set(value, name);
  }
  return names;
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
