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
  return new Message()
    .integer(1, 10)
    .text(2, "lowrank")
    .message(7, (graph) => {
      writeBody(graph, model);
      for (const [name, tensor] of model.constants) {
        const bytes = new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
        graph.message(5, (part) => writeTensor(part, name, tensor).bytes(9, bytes));
      }
      for (const [name, tensor] of model.stored) graph.message(5, (part) => writeStored(part, name, tensor));
    })
    .message(8, (part) => part.text(1, "").integer(2, model.opset))
    .message(8, (part) => part.text(1, "com.microsoft").integer(2, 1))
    .finish();
}

function writeBody(graph: Message, { nodes, inputs, outputs, values }: OnnxBody): void {
  for (const node of nodes) graph.message(1, (part) => writeNode(part, node));
  graph.text(2, "lowrank");
  for (const [name, type] of inputs) graph.message(11, (part) => writeValueInfo(part, name, type));
  for (const [name, type] of outputs) graph.message(12, (part) => writeValueInfo(part, name, type));
  for (const [name, type] of values) graph.message(13, (part) => writeValueInfo(part, name, type));
}

function writeNode(message: Message, { type, domain, inputs, outputs, attributes, body }: OnnxNode): void {
  for (const name of inputs) message.text(1, name);
  for (const name of outputs) message.text(2, name);
  message.text(3, outputs[0]!); // what profiles and errors of the runtime call it
  message.text(4, type);
  for (const [name, value] of Object.entries(attributes))
    message.message(5, (part) => writeAttribute(part, name, value));
  if (body) {
    message.message(5, (part) =>
      part
        .text(1, "body")
        .message(6, (graph) => writeBody(graph, body))
        .integer(20, 5),
    );
  }
  if (domain !== "") message.text(7, domain);
}

function writeAttribute(message: Message, name: string, value: OnnxAttribute): void {
  message.text(1, name);
  if (typeof value === "number") message.float(2, value).integer(20, 1);
  else if (typeof value === "bigint") message.integer(3, value).integer(20, 2);
  else if (typeof value === "string") message.text(4, value).integer(20, 3);
  else {
    for (const item of value) message.integer(8, item);
    message.integer(20, 7);
  }
}

/** What a tensor is called and of what type it is. */
function writeTensor(message: Message, name: string, { dtype, shape }: TensorType): Message {
  for (const extent of shape) message.integer(1, extent);
  return message.integer(2, ELEMENT_CODE[dtype]).text(8, name);
}

function writeStored(message: Message, name: string, tensor: StoredTensor): void {
  writeTensor(message, name, tensor);
  const file = tensor.path.slice(Math.max(tensor.path.lastIndexOf("/"), tensor.path.lastIndexOf("\\")) + 1);
  for (const [key, value] of [
    ["location", file],
    ["offset", String(tensor.offset)],
    ["length", String(tensor.byteLength)],
  ] as const) {
    message.message(13, (part) => part.text(1, key).text(2, value));
  }
  message.integer(14, 1);
}

function writeValueInfo(message: Message, name: string, { dtype, shape }: ValueType): void {
  message.text(1, name).message(2, (type) =>
    type.message(1, (tensor) =>
      tensor.integer(1, ELEMENT_CODE[dtype]).message(2, (dims) => {
        for (const extent of shape) {
          dims.message(1, (dim) => (typeof extent === "number" ? dim.integer(1, extent) : dim.text(2, extent)));
        }
      }),
    ),
  );
}
