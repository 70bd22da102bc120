/**
 * Graphs on WebGPU. Frozen tensors are uploaded once, however many sessions read them, and are inputs of each; trained
 * ones stay on the device from run to run. Nothing falls back to the CPU: a graph that would is refused.
 */

import type { InferenceSession } from "onnxruntime-node";
import { GraphError, LowrankError, messageOf } from "../errors.ts";
import { input } from "../graph/graph.ts";
import { type FloatTensor, floatTensor, type StoredTensor, type Tensor } from "../tensor/tensor.ts";
import { encodeModel, type OnnxModel } from "./onnx.ts";
import { type Ort, ortSession } from "./ort.ts";
import { residentTensors } from "./resident.ts";
import type { DeviceMemory, DeviceTensor, Runtime, Session, SessionOptions } from "./session.ts";
import { type SizedModel, sizedModel } from "./sized.ts";
import { toOnnx } from "./to-onnx.ts";
import { WEBGPU_RULES } from "./webgpu-lowering.ts";

/** Where ONNX Runtime runs: in Node or in a browser. */
export interface WebgpuHost {
  readonly ort: Ort;
  /** What to do when there is no device; part of the error's message. */
  readonly advice: string;
  /** The elements of a stored tensor. */
  read(tensor: StoredTensor): Promise<Float32Array>;
}

/** The runtime of a WebGPU device. Throws LowrankError, at the first session, where there is none. */
export function webgpuRuntime(host: WebgpuHost): Runtime {
  const memory = deviceMemory(host);
  const resident = residentTensors(host, memory);

  const open = async (model: OnnxModel, options: SessionOptions, lists: SizedModel["lists"] = () => new Map()) => {
    const inputs = new Map(model.inputs);
    for (const [name, { dtype, shape }] of model.stored) {
      if (dtype !== "f32" && dtype !== "f16" && dtype !== "bf16")
        throw new GraphError(`internal: ${name} is ${dtype}, which WebGPU does not multiply`);
      inputs.set(name, { dtype: "f32", shape });
    }
    const session = await create(host, { ...model, inputs, stored: new Map() }, options);
    const held = await resident.acquire(model.stored);
    const opened = ortSession(host.ort, session, model, (fed) => new Map([...held.tensors, ...lists(fed)]));
    return {
      ...opened,
      inputNames: opened.inputNames.filter((name) => !held.tensors.has(name)),
      close: async () => {
        await opened.close();
        held.release();
      },
    } satisfies Session;
  };

  return {
    memory,
    open: async (outputs, options) => open(toOnnx(outputs, { device: WEBGPU_RULES }), options),
    openSized: async ({ probes, monomials, build }, options) => {
      const models = probes.map((sizes) => toOnnx(build(sizes), { probe: true, device: WEBGPU_RULES }));
      const sized = sizedModel(models, probes, monomials);
      return sized && open(sized.model, options, sized.lists);
    },
  };
}

async function create(
  { ort, advice }: WebgpuHost,
  model: OnnxModel,
  { keep = () => false }: Pick<SessionOptions, "keep">,
): Promise<InferenceSession> {
  const location = (name: string) => [name, keep(name) ? "gpu-buffer" : "cpu"] as const;
  try {
    return await ort.InferenceSession.create(encodeModel(model), {
      executionProviders: ["webgpu"],
      graphOptimizationLevel: "disabled", // as on the CPU: the graph is emitted as it shall run
      preferredOutputLocation: Object.fromEntries([...model.outputs.keys()].map(location)),
      logSeverityLevel: 4,
      extra: { session: { disable_cpu_ep_fallback: "1" } },
    });
  } catch (error) {
    const message = messageOf(error);
    if (message.includes("assigned to the default CPU EP")) {
      const types = [...new Set(model.nodes.map(({ type }) => type))];
      throw new GraphError(`internal: WebGPU has no kernel for an operator of this graph, one of ${types.join(", ")}`);
    }
    if (/invalid model|Type Error/.test(message)) throw new GraphError(`internal: ${message}`);
    const reason = message.split(" was false. ").at(-1)!; // behind the place in ONNX Runtime's source
    throw new LowrankError(`WebGPU cannot be used here: ${reason.trim()}\n${advice}`, { cause: error });
  }
}

/** Moves tensors by sessions that return what they are given: the one way in and out that every host has. */
function deviceMemory(host: WebgpuHost): DeviceMemory {
  const sessions = new Map<string, Promise<Session>>();
  const mover = (way: "in" | "out", rank: number): Promise<Session> => {
    const key = `${way}${rank}`;
    const held = sessions.get(key);
    if (held) return held;
    const x = input("x", "f32", new Array<number>(rank).fill(1));
    const plain = toOnnx(new Map([["y", x]]));
    const type = { dtype: "f32", shape: x.shape.map((_, axis) => `d${axis}`) } as const;
    const model = { ...plain, inputs: new Map([["x", type]]), outputs: new Map([["y", type]]) };
    const opened = create(host, model, { keep: () => way === "in" }).then((session) =>
      ortSession(host.ort, session, model),
    );
    sessions.set(key, opened);
    return opened;
  };
  const move = async (way: "in" | "out", tensor: Tensor): Promise<Tensor> => {
    const session = await mover(way, tensor.shape.length);
    return (await session.run(new Map([["x", tensor]]))).get("y")!;
  };
  return {
    upload: async (tensor) => (await move("in", tensor)) as DeviceTensor,
    read: async (tensor) => {
      const { shape, data } = (await move("out", tensor)) as FloatTensor;
      return floatTensor(shape, data);
    },
  };
}
