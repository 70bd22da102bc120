/** ONNX models as bytes. Field numbers: onnx/onnx.proto of the ONNX project. */

import type { TensorType } from "../graph/graph.ts";
import type { DType } from "../tensor/dtype.ts";
import type { StoredTensor, Tensor } from "../tensor/tensor.ts";
import { Message } from "./protobuf.ts";

/** Element type codes of TensorProto.DataType. */
export const ELEMENT_CODE: Readonly<Record<DType, number>> = {
  f32: 1,
  u8: 2,
  i8: 3,
  u16: 4,
  i16: 5,
  i32: 6,
  i64: 7,
  bool: 9,
  f16: 10,
  f64: 11,
  u32: 12,
  u64: 13,
  bf16: 16,
  u4: 21,
  i4: 22,
};

export type OnnxAttribute = number | bigint | string | readonly number[];

export interface OnnxNode {
  readonly type: string;
  /** "" for the standard operators, "com.microsoft" for ONNX Runtime's own. */
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Numbers are floats, bigints are integers, lists are lists of integers. */
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
  /** The graph that Scan runs for each slice. */
  readonly body?: OnnxBody;
}

/** A graph inside a node. It reads values of the graph around it by their names. */
export interface OnnxBody {
  readonly nodes: readonly OnnxNode[];
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  /** Types of values in between: what lets the runtime reuse memory where it cannot infer them. */
  readonly values: ReadonlyMap<string, ValueType>;
}

/** A number, or the name of an extent that follows the batch. */
export type Dimension = number | string;

export interface ValueType {
  readonly dtype: DType;
  readonly shape: readonly Dimension[];
}

export interface OnnxModel extends OnnxBody {
  readonly opset: number;
  readonly constants: ReadonlyMap<string, Tensor>;
  /** Tensors that stay in files; all of one folder. */
  readonly stored: ReadonlyMap<string, StoredTensor>;
}

export function encodeModel(model: OnnxModel): Uint8Array {
  const graph = encodeBody(model);
  for (const [name, tensor] of model.constants) {
    const bytes = new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
    graph.message(5, tensorHeader(name, tensor).bytes(9, bytes));
  }
  for (const [name, tensor] of model.stored) graph.message(5, encodeStored(name, tensor));
  return new Message()
    .integer(1, 10)
    .text(2, "lowrank")
    .message(7, graph)
    .message(8, new Message().text(1, "").integer(2, model.opset))
    .message(8, new Message().text(1, "com.microsoft").integer(2, 1))
    .finish();
}

function encodeBody({ nodes, inputs, outputs, values }: OnnxBody): Message {
  const graph = new Message();
  for (const node of nodes) graph.message(1, encodeNode(node));
  graph.text(2, "lowrank");
  for (const [name, type] of inputs) graph.message(11, encodeValueInfo(name, type));
  for (const [name, type] of outputs) graph.message(12, encodeValueInfo(name, type));
  for (const [name, type] of values) graph.message(13, encodeValueInfo(name, type));
  return graph;
}

function encodeNode(node: OnnxNode): Message {
  const message = new Message();
  for (const name of node.inputs) message.text(1, name);
  for (const name of node.outputs) message.text(2, name);
  message.text(3, node.outputs[0]!); // what profiles and errors of the runtime call it
  message.text(4, node.type);
  for (const [name, value] of Object.entries(node.attributes)) message.message(5, encodeAttribute(name, value));
  if (node.body) message.message(5, new Message().text(1, "body").message(6, encodeBody(node.body)).integer(20, 5));
  if (node.domain !== "") message.text(7, node.domain);
  return message;
}

function encodeAttribute(name: string, value: OnnxAttribute): Message {
  const message = new Message().text(1, name);
  if (typeof value === "number") return message.float(2, value).integer(20, 1);
  if (typeof value === "bigint") return message.integer(3, value).integer(20, 2);
  if (typeof value === "string") return message.text(4, value).integer(20, 3);
  for (const item of value) message.integer(8, item);
  return message.integer(20, 7);
}

function tensorHeader(name: string, { dtype, shape }: TensorType): Message {
  const message = new Message();
  for (const extent of shape) message.integer(1, extent);
  return message.integer(2, ELEMENT_CODE[dtype]).text(8, name);
}

function encodeStored(name: string, tensor: StoredTensor): Message {
  const message = tensorHeader(name, tensor);
  const file = tensor.path.slice(Math.max(tensor.path.lastIndexOf("/"), tensor.path.lastIndexOf("\\")) + 1);
  for (const [key, value] of [
    ["location", file],
    ["offset", String(tensor.offset)],
    ["length", String(tensor.byteLength)],
  ] as const) {
    message.message(13, new Message().text(1, key).text(2, value));
  }
  return message.integer(14, 1);
}

function encodeValueInfo(name: string, { dtype, shape }: ValueType): Message {
  const dims = new Message();
  for (const extent of shape) {
    dims.message(1, typeof extent === "number" ? new Message().integer(1, extent) : new Message().text(2, extent));
  }
  const tensor = new Message().integer(1, ELEMENT_CODE[dtype]).message(2, dims);
  return new Message().text(1, name).message(2, new Message().message(1, tensor));
}
