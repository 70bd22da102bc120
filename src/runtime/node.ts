/** ONNX Runtime in Node. With web.ts the only importer of it. */

import { dirname } from "node:path";
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { GraphError } from "../errors.ts";
import type { DType, TypedArray } from "../tensor/dtype.ts";
import type { StoredTensor, Tensor } from "../tensor/tensor.ts";
import { encodeModel, type OnnxModel } from "./onnx.ts";
import type { Runtime, Session, SessionOptions } from "./session.ts";
import { sizedModel } from "./sized.ts";
import { toOnnx } from "./to-onnx.ts";

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

/** The runtime of Node: CPU. */
export const nodeRuntime: Runtime = {
  open: (outputs, options) => openModel(toOnnx(outputs), options),
  openSized: async ({ probes, monomials, build }, options) => {
    const models = probes.map((sizes) => toOnnx(build(sizes), { probe: true }));
    const model = sizedModel(models, probes, monomials);
    return model && openModel(model, options);
  },
};

async function openModel(model: OnnxModel, options: SessionOptions): Promise<Session> {
  const session = await InferenceSession.create(encodeModel(model), sessionOptions(model.stored.values(), options));
  const wanted = [...model.outputs.keys()];
  return {
    inputNames: session.inputNames,
    close: () => session.release(),
    run: async (inputs) => {
      const feeds: Record<string, OrtTensor> = {};
      for (const name of session.inputNames) {
        const tensor = inputs.get(name);
        if (!tensor) throw new GraphError(`internal: a run lacks the input ${name}`);
        feeds[name] = toOrt(tensor);
      }
      const results = await session.run(feeds, wanted);
      return new Map(wanted.map((name) => [name, fromOrt(results[name]!, model.outputs.get(name)!.dtype)]));
    },
  };
}

function sessionOptions(
  stored: Iterable<StoredTensor>,
  { threads, profilePrefix, prepack = false }: SessionOptions,
): InferenceSession.SessionOptions {
  const folders = new Set([...stored].map(({ path }) => dirname(path)));
  if (folders.size > 1)
    throw new GraphError(`internal: one session's stored tensors lie in ${[...folders].join(" and ")}`);
  const [folder] = folders;
  return {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    // The graph is emitted as it shall run. Optimisation would copy transposed weights, fold casts of mapped ones,
    // merge recomputed segments with what they recompute, and take most of the time to open a session.
    graphOptimizationLevel: "disabled",
    enableMemPattern: false, // plans one more block beside what the first run has taken
    logSeverityLevel: 3,
    extra: {
      session: {
        disable_prepacking: prepack ? "0" : "1", // packed copies of mapped weights cost their size again
        ...(folder === undefined ? {} : { model_external_initializers_file_folder_path: folder }),
      },
    },
    ...(profilePrefix === undefined ? {} : { enableProfiling: true, profileFilePrefix: profilePrefix }),
  };
}

function toOrt({ dtype, shape, data }: Tensor): OrtTensor {
  const type = ORT_TYPE[dtype];
  if (!type) throw new GraphError(`internal: ${dtype} cannot be fed to a session`);
  return new OrtTensor(type, data as OrtTensor.DataType, shape);
}

function fromOrt(tensor: OrtTensor, dtype: DType): Tensor {
  return { dtype, shape: tensor.dims, data: tensor.data as TypedArray };
}
