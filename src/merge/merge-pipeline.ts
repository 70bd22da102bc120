/** Merging into a diffusion pipeline: writes the merged folder, opens what was written, and measures what merging changed. */

import type { FloatType } from "../adapters/merge.ts";
import { type ImageAdapter, mountBranches, weighted } from "../diffusion/adapter.ts";
import { unetInputs } from "../diffusion/component.ts";
import { mergeImageLora } from "../diffusion/merge-lora.ts";
import { openPipeline, type Pipeline, type PipelineOptions, type TextEncoder } from "../diffusion/pipeline.ts";
import { readImageLora, unmatchedText } from "../diffusion/read-lora.ts";
import { textInputs } from "../diffusion/text-layout.ts";
import { UsageError } from "../errors.ts";
import type { Value } from "../graph/graph.ts";
import { clipText } from "../models/clip-text.ts";
import { locateModel } from "../models/locate.ts";
import { createStream } from "../models/stream.ts";
import { timeFeatures, unet } from "../models/unet.ts";
import type { Runtime } from "../runtime/session.ts";
import { randomStream } from "../tensor/random.ts";
import { sizeOf } from "../tensor/shape.ts";
import { type FloatTensor, floatTensor, type Tensor } from "../tensor/tensor.ts";

export interface MergePipelineInput extends PipelineOptions {
  /** A diffusers folder, a single-file checkpoint, or embedded:NAME. */
  readonly model: string;
  /** Merged together, as a weighted sum. */
  readonly adapters: readonly { readonly name: string; readonly path: string; readonly weight: number }[];
  /** Folder for the merged pipeline. */
  readonly out: string;
  /** Type of all written weights; null: each tensor's own. */
  readonly dtype?: FloatType | null;
  readonly threads?: number;
  readonly onWarning?: (message: string) => void;
}

export interface MergePipelineResult {
  readonly out: string;
  readonly dtype: FloatType | null;
  /**
   * Largest difference of what the UNet predicts and of the text encoders' states, between the merged pipeline, as written,
   * and base and adapters, on probes.
   */
  readonly maxAbsDiff: number;
  /** That of each component. */
  readonly components: Readonly<Record<string, number>>;
}

/** Rows and columns of the probes' latents, and tokens of their text. */
const PROBE = { size: 16, tokens: 8, steps: [21, 501, 951] } as const;

/** Merges and measures. Throws AdapterMismatchError for files of another base, LowrankError where files refuse. */
export async function mergePipelineHere(input: MergePipelineInput, runtime: Runtime): Promise<MergePipelineResult> {
  const { adapters, out, dtype = null, threads = 2, onWarning = () => {} } = input;
  if (adapters.length === 0) throw new UsageError("Nothing to merge: name at least one --adapter.");
  const pipeline = openPipeline(locateModel(input.model), input);
  const read = adapters.map(({ path, weight }): readonly [ImageAdapter, number] => {
    const lora = readImageLora(path, pipeline);
    const left = unmatchedText(path, lora);
    if (left !== null) onWarning(left);
    return [lora.adapter, weight];
  });
  mergeImageLora(pipeline, read, out, dtype);
  const merged = openPipeline(out);
  const touched = [...new Set(read.flatMap(([adapter]) => [...adapter.keys()]))];
  const components: Record<string, number> = {};
  for (const name of touched) {
    const run = (of: Pipeline, mounted: typeof read): Promise<Float32Array> =>
      name === "unet"
        ? unetProbe(of, mounted, runtime, threads)
        : textProbe(of.textEncoders.find(({ component }) => component === name)!, mounted, runtime, threads);
    const [before, after] = [await run(pipeline, read), await run(merged, [])];
    let largest = 0;
    before.forEach((value, i) => {
      const difference = Math.abs(value - after[i]!);
      if (!(difference <= largest)) largest = difference; // NaN too
    });
    components[name] = largest;
  }
  const maxAbsDiff = Math.max(0, ...Object.values(components));
  return { out, dtype, maxAbsDiff, components };
}

type Mounts = readonly (readonly [ImageAdapter, number])[];

function mounts(adapters: Mounts, component: string): Parameters<typeof mountBranches>[1] {
  return adapters.map(([adapter, weight], i) => ({
    prefix: `${i}/`,
    branches: weighted(adapter.get(component) ?? new Map(), () => weight),
  }));
}

async function unetProbe({ unet: component }: Pipeline, adapters: Mounts, runtime: Runtime, threads: number) {
  const { config } = component;
  const { size, steps } = PROBE;
  const B = steps.length;
  const inputs = unetInputs(config, { B, H: size, W: size, M: PROBE.tokens });
  const { weights, tensors } = mountBranches(component.weights(createStream(1, 1)), mounts(adapters, "unet"));
  const feeds = new Map<string, Tensor>(tensors);
  for (const [name, { shape }] of Object.entries(inputs) as [string, Value][]) feeds.set(name, normal(name, shape));
  const width = config.block_out_channels[0]!;
  feeds.set("time", floatTensor([B, width], timeFeatures(steps, width, config)));
  return runOnce(unet(weights, config, inputs), feeds, runtime, threads);
}

async function textProbe(encoder: TextEncoder, adapters: Mounts, runtime: Runtime, threads: number) {
  const { config } = encoder;
  const T = Math.min(PROBE.tokens, config.max_position_embeddings);
  const stream = createStream(1, T);
  const { weights, tensors } = mountBranches(encoder.weights(stream), mounts(adapters, encoder.component));
  const { last, pooled } = clipText(weights, config, stream);
  const random = randomStream(0, 0x7e57);
  const ids = Int32Array.from({ length: T }, () => random.integer(config.vocab_size));
  const feeds = new Map([...textInputs(stream, config, ids), ...tensors]);
  const states = await runOnce(last, feeds, runtime, threads);
  if (config.projection_dim === null) return states;
  return Float32Array.from([...states, ...(await runOnce(pooled(), feeds, runtime, threads))]);
}

async function runOnce(output: Value, inputs: ReadonlyMap<string, Tensor>, runtime: Runtime, threads: number) {
  const session = await runtime.open(new Map([["output", output]]), { threads });
  try {
    return ((await session.run(inputs)).get("output")!.data as Float32Array).slice();
  } finally {
    await session.close();
  }
}

/** Standard normal numbers, the same for each name. */
function normal(name: string, shape: readonly number[]): FloatTensor {
  const random = randomStream(0, name.length, name.charCodeAt(0));
  return floatTensor(
    shape,
    Float32Array.from({ length: sizeOf(shape) }, () => random.normal()),
  );
}
