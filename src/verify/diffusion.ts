/**
 * Reference cases of diffusion pipelines: a pipeline's folder, or its configurations with a single-file checkpoint, and
 * `expected.safetensors`, which holds the inputs beside the results, and a LoRA as a kohya file.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { gradient } from "../autodiff/gradient.ts";
import { type ImageAdapter, mountBranches } from "../diffusion/adapter.ts";
import { type Component, unetInputs } from "../diffusion/component.ts";
import { openPipeline, type Pipeline } from "../diffusion/pipeline.ts";
import { readImageLora } from "../diffusion/read-lora.ts";
import { textInputs } from "../diffusion/text-layout.ts";
import { ModelError } from "../errors.ts";
import { input, type Value } from "../graph/graph.ts";
import { mul, sub } from "../graph/ops/arithmetic.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { reduceMean } from "../graph/ops/reduce.ts";
import { decode, encode } from "../models/autoencoder-kl.ts";
import { clipText } from "../models/clip-text.ts";
import { createStream } from "../models/stream.ts";
import { timeFeatures, unet } from "../models/unet.ts";
import type { Runtime, SessionOptions } from "../runtime/session.ts";
import { toFloat32 } from "../tensor/convert.ts";
import type { Tensor } from "../tensor/tensor.ts";

type Tensors = ReadonlyMap<string, Tensor>;
type Run = (outputs: ReadonlyMap<string, Value>, inputs: Tensors) => Promise<Tensors>;

const INPUTS = ["text.input_ids", "unet.sample", "unet.timestep", "unet.target", "vae.image"] as const;
type Inputs = Readonly<Record<(typeof INPUTS)[number], Tensor>>;

/** The checkpoint of a case that has no folders of weights. */
export const SINGLE_FILE = "model.safetensors";

/** Every tensor of the case, computed from the inputs among the `expected` ones. */
export async function computeDiffusion(
  folder: string,
  expected: Tensors,
  runtime: Runtime,
  options: SessionOptions,
): Promise<Map<string, Tensor>> {
  const missing = INPUTS.filter((name) => !expected.has(name));
  if (missing.length > 0)
    throw new ModelError(`${folder}/expected.safetensors lacks the inputs ${missing.join(", ")}.`);
  const given = Object.fromEntries(INPUTS.map((name) => [name, expected.get(name)!])) as unknown as Inputs;
  const single = join(folder, SINGLE_FILE);
  const modelConfig = existsSync(join(folder, "unet", "config.json")) ? folder : null;
  const pipeline = existsSync(single) ? openPipeline(single, { modelConfig }) : openPipeline(folder);
  const { adapter } = readImageLora(join(folder, "lora_kohya", "lora.safetensors"), pipeline);
  const run: Run = async (outputs, inputs) => {
    const session = await runtime.open(outputs, options);
    try {
      return await session.run(inputs);
    } finally {
      await session.close();
    }
  };
  const ours = new Map<string, Tensor>(Object.entries(given));
  for (const [name, tensor] of await autoencoder(pipeline, given, run)) ours.set(name, tensor);

  const none: ImageAdapter = new Map();
  const hidden = (await text(pipeline, none, given, run)).get("hidden")!;
  ours.set("text.hidden", hidden);
  ours.set("unet.base", (await denoise(pipeline, none, given, hidden, run)).get("output")!);

  const tuned = (await text(pipeline, adapter, given, run)).get("hidden")!;
  const results = await denoise(pipeline, adapter, given, tuned, run);
  ours.set("lora.text.hidden", tuned);
  ours.set("lora.unet", results.get("output")!);
  ours.set("lora.loss", { ...results.get("loss")!, shape: [1] });
  // What the loss sends back to the text goes on through the text encoder.
  const seed = results.get("grad.context")!;
  const further = await text(pipeline, adapter, given, run, seed);
  for (const [component, gradients] of [
    ["unet", results],
    ["text_encoder", further],
  ] as const) {
    for (const [name, tensor] of gradients) {
      if (name.includes(".lora_")) ours.set(gradientName(component, name, expected), tensor);
    }
  }
  return ours;
}

/** PyTorch's name of a gradient: transformers 5 leaves "text_model." out. */
function gradientName(component: string, name: string, expected: Tensors): string {
  const own = name.replace("grad.", `grad.${component}.`);
  return expected.has(own) ? own : own.replace("text_model.", "");
}

async function autoencoder({ vae }: Pipeline, given: Inputs, run: Run): Promise<Tensors> {
  const w = vae.weights(createStream(1, 1));
  const [image, latents] = [given["vae.image"], given["unet.sample"]];
  const { mean, logvar } = encode(w, vae.config, input("image", "f32", image.shape));
  const outputs = new Map([
    ["vae.mean", mean],
    ["vae.logvar", logvar],
    ["vae.decode", decode(w, vae.config, input("latents", "f32", latents.shape))],
  ]);
  return run(
    outputs,
    new Map([
      ["image", image],
      ["latents", latents],
    ]),
  );
}

/** `hidden` [B, T, C], and with `seed`, its gradient, those of the adapter. */
async function text(
  pipeline: Pipeline,
  adapter: ImageAdapter,
  given: Inputs,
  run: Run,
  seed?: Tensor,
): Promise<Tensors> {
  const encoder = pipeline.textEncoders[0]!;
  const { shape, data } = given["text.input_ids"];
  const [B = 0, T = 0] = shape;
  const stream = createStream(B, T);
  const { weights, tensors, parameters } = mounted(encoder, "text_encoder", adapter, stream);
  const { last } = clipText(weights, encoder.config, stream);
  const outputs = new Map([["hidden", reshape(last, [B, T, encoder.config.hidden_size])]]);
  const inputs = new Map([...textInputs(stream, encoder.config, Int32Array.from(data, Number)), ...tensors]);
  if (seed) {
    addGradients(outputs, last, parameters, input("seed", "f32", last.shape));
    inputs.set("seed", { ...seed, shape: last.shape });
  }
  return run(outputs, inputs);
}

/** `output`, `loss`, and with an adapter the gradients of its tensors and of the context. */
async function denoise(
  { unet: component }: Pipeline,
  adapter: ImageAdapter,
  given: Inputs,
  hidden: Tensor,
  run: Run,
): Promise<Tensors> {
  const { config } = component;
  const sample = given["unet.sample"];
  const [B = 0, , H = 0, W = 0] = sample.shape;
  const stream = createStream(1, 1);
  const { weights, tensors, parameters } = mounted(component, "unet", adapter, stream);
  const inputs = unetInputs(config, { B, H, W, M: hidden.shape[1]! }, { trainableContext: true });
  const output = unet(weights, config, inputs);
  const difference = sub(output, input("target", "f32", output.shape));
  const loss = reshape(reduceMean(mul(difference, difference), [0, 1, 2, 3]), []);
  const outputs = new Map([
    ["output", output],
    ["loss", loss],
  ]);
  const width = config.block_out_channels[0]!;
  const time = timeFeatures(Array.from(toFloat32(given["unet.timestep"])), width, config);
  const feeds = new Map<string, Tensor>([
    ["sample", sample],
    ["time", { dtype: "f32", shape: [B, width], data: time }],
    ["context", hidden],
    ["target", given["unet.target"]],
    ...tensors,
  ]);
  if (tensors.size > 0) addGradients(outputs, loss, new Map([["context", inputs.context], ...parameters]));
  return run(outputs, feeds);
}

/** Adds `grad.NAME` for each of `targets`. */
function addGradients(
  outputs: Map<string, Value>,
  value: Value,
  targets: ReadonlyMap<string, Value>,
  seed?: Value,
): void {
  const names = [...targets.keys()];
  gradient(value, [...targets.values()], seed).forEach((dy, i) => {
    if (dy) outputs.set(`grad.${names[i]}`, dy);
  });
}

function mounted<C>(
  component: Component<C>,
  name: string,
  adapter: ImageAdapter,
  stream: ReturnType<typeof createStream>,
): ReturnType<typeof mountBranches> {
  const branches = adapter.get(name) ?? new Map();
  return mountBranches(component.weights(stream), [{ prefix: "", branches }]);
}
