/** ONNX Runtime in Node, on the CPU. */

import { dirname } from "node:path";
import * as ort from "onnxruntime-node";
import { GraphError } from "../errors.ts";
import type { StoredTensor } from "../tensor/tensor.ts";
import { encodeModel, type OnnxModel } from "./onnx.ts";
import { ortSession } from "./ort.ts";
import type { Runtime, SessionOptions } from "./session.ts";
import { sizedModel } from "./sized.ts";
import { toOnnx } from "./to-onnx.ts";

export const nodeRuntime: Runtime = {
  open: async (outputs, options) => {
    const model = toOnnx(outputs);
    return ortSession(ort, await create(model, options), model);
  },
  openSized: async ({ probes, monomials, build }, options) => {
    const models = probes.map((sizes) => toOnnx(build(sizes), { probe: true }));
    const sized = sizedModel(models, probes, monomials);
    return sized && ortSession(ort, await create(sized.model, options), sized.model, sized.lists);
  },
};

function create(model: OnnxModel, options: SessionOptions): Promise<ort.InferenceSession> {
  return ort.InferenceSession.create(encodeModel(model), sessionOptions(model.stored.values(), options));
}

function sessionOptions(
  stored: Iterable<StoredTensor>,
  { threads, profilePrefix, prepack = false }: SessionOptions,
): ort.InferenceSession.SessionOptions {
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
        // Masked softmax works on numbers next to zero, which Intel's processors take many times as long for (docs/speed.md).
        set_denormal_as_zero: "1",
        disable_prepacking: prepack ? "0" : "1", // packed copies of mapped weights cost their size again
        ...(folder === undefined ? {} : { model_external_initializers_file_folder_path: folder }),
      },
    },
    ...(profilePrefix === undefined ? {} : { enableProfiling: true, profileFilePrefix: profilePrefix }),
  };
}
