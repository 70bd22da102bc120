/** What sessions of ONNX Runtime have in common, wherever it runs: tensors in and out. */

import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { GraphError } from "../errors.ts";
import type { DType, TypedArray } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { OnnxModel } from "./onnx.ts";
import { type DeviceTensor, isOnDevice, type Session } from "./session.ts";

/** ONNX Runtime as its packages for Node and for browsers export it. */
export type Ort = Pick<typeof import("onnxruntime-node"), "InferenceSession" | "Tensor">;

const ORT_TYPE: Partial<Readonly<Record<DType, OrtTensor.Type>>> = {
  f32: "float32",
  f64: "float64",
  f16: "float16",
  i64: "int64",
  i32: "int32",
  i8: "int8",
  u8: "uint8",
  bool: "bool",
};

/** `model`'s session; `fed` adds tensors that no caller knows of. */
export function ortSession(
  ort: Ort,
  session: InferenceSession,
  model: OnnxModel,
  fed: (inputs: ReadonlyMap<string, Tensor>) => ReadonlyMap<string, Tensor> = () => new Map(),
): Session {
  const wanted = [...model.outputs.keys()];
  return {
    inputNames: session.inputNames,
    close: () => session.release(),
    run: async (inputs) => {
      const own = fed(inputs);
      const feeds: Record<string, OrtTensor> = {};
      for (const name of session.inputNames) {
        const tensor = own.get(name) ?? inputs.get(name);
        if (!tensor) throw new GraphError(`internal: a run lacks the input ${name}`);
        feeds[name] = toOrt(ort, tensor);
      }
      const results = await session.run(feeds, wanted);
      return new Map(wanted.map((name) => [name, fromOrt(results[name]!, model.outputs.get(name)!.dtype)]));
    },
  };
}

function toOrt(ort: Ort, tensor: Tensor): OrtTensor {
  if (isOnDevice(tensor)) return tensor.resident as OrtTensor;
  const type = ORT_TYPE[tensor.dtype];
  if (!type) throw new GraphError(`internal: ${tensor.dtype} cannot be fed to a session`);
  return new ort.Tensor(type, tensor.data as OrtTensor.DataType, tensor.shape);
}

function fromOrt(tensor: OrtTensor, dtype: DType): Tensor {
  if (tensor.location !== "gpu-buffer") return { dtype, shape: tensor.dims, data: tensor.data as TypedArray };
  const held: DeviceTensor = {
    dtype,
    shape: tensor.dims,
    get data(): TypedArray {
      throw new GraphError("internal: a tensor in the device's memory was read without reading it back");
    },
    resident: tensor,
    close: () => tensor.dispose(),
  };
  return held;
}
