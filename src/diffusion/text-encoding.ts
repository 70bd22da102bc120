/** Prompts → what the UNet reads of them. */

import { type ClipTokenizer, loadClipTokenizer } from "../data/clip-tokenizer.ts";
import { ModelError, UsageError } from "../errors.ts";
import type { Value } from "../graph/graph.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { clipText, finalNorm } from "../models/clip-text.ts";
import { createStream } from "../models/stream.ts";
import { type FloatTensor, floatTensor, type Tensor } from "../tensor/tensor.ts";
import type { MountedBranches } from "./adapter.ts";
import { mountBranches } from "./adapter.ts";
import type { Pipeline, TextEncoder } from "./pipeline.ts";
import type { SessionPool } from "./session-pool.ts";
import { isSingleFile } from "./single-file.ts";
import { textInputs } from "./text-layout.ts";

export interface EncodedPrompts {
  /** [prompts, T, X] */
  readonly context: FloatTensor;
  /** Pooled text [prompts, P] of models that read it; null in others. */
  readonly pooled: FloatTensor | null;
}

export interface EncodeOptions {
  readonly pool: SessionPool;
  /** Adapters' branches by component. */
  branches(component: string): readonly MountedBranches[];
  /** How many of the last layers are left out; null is the model's own way. */
  readonly clipSkip: number | null;
}

/** A pipeline's tokenizers, in the order of its text encoders. */
export function loadTokenizers({ folder, textEncoders }: Pipeline): readonly ClipTokenizer[] {
  return textEncoders.map(({ component, tokenizer, padding, config }) => {
    if (tokenizer !== null) return loadClipTokenizer(tokenizer, config.max_position_embeddings, padding);
    throw new ModelError(
      isSingleFile(folder)
        ? `${folder}: single files carry no tokenizer. Give one with --tokenizer: CLIP's on the hub (--tokenizer openai/clip-vit-large-patch14), the folder of its vocab.json and merges.txt, or that of a diffusers pipeline.`
        : `${folder}: the folder ${component.replace("text_encoder", "tokenizer")} is missing. Download the whole pipeline, or name another's with --tokenizer.`,
    );
  });
}

/** Encodes prompts with every text encoder of the pipeline. */
export async function encodePrompts(
  { textEncoders }: Pipeline,
  tokenizers: readonly ClipTokenizer[],
  prompts: readonly string[],
  options: EncodeOptions,
): Promise<EncodedPrompts> {
  const several = textEncoders.length > 1;
  const parts: { hidden: Tensor; pooled: Tensor | null }[] = [];
  for (const [i, encoder] of textEncoders.entries()) {
    parts.push(await encodeWith(encoder, tokenizers[i]!, prompts, { ...options, several }));
  }
  const hidden = parts.map((part) => part.hidden);
  const pooled = several ? (parts.at(-1)!.pooled as FloatTensor | null) : null;
  return { context: beside(hidden), pooled };
}

async function encodeWith(
  encoder: TextEncoder,
  tokenizer: ClipTokenizer,
  prompts: readonly string[],
  { pool, branches, clipSkip, several }: EncodeOptions & { readonly several: boolean },
): Promise<{ hidden: Tensor; pooled: Tensor | null }> {
  const { component, config } = encoder;
  const [B, T] = [prompts.length, tokenizer.length];
  const skip = clipSkip ?? (several ? 1 : 0);
  if (skip >= config.num_hidden_layers) {
    throw new UsageError(`--clip-skip ${skip} leaves none of the ${config.num_hidden_layers} layers of ${component}.`);
  }
  const stream = createStream(B, T);
  const { weights, tensors } = mountBranches(encoder.weights(stream), branches(component));
  const session = await pool.open([component, B, T, skip, ...tensors.keys()].join(" "), () => {
    const { states, last, pooled } = clipText(weights, config, stream);
    // Two encoders give the state before the last layer as it is; one gives its choice through the last norm.
    const state = states.at(-1 - skip)!;
    const chosen = several ? state : skip === 0 ? last : finalNorm(weights, config, state);
    const outputs = new Map<string, Value>([["hidden", reshape(chosen, [B, T, config.hidden_size])]]);
    return config.projection_dim === null ? outputs : outputs.set("pooled", pooled());
  });
  const ids = new Int32Array(B * T);
  prompts.forEach((prompt, i) => {
    ids.set(tokenizer.encode(prompt), i * T);
  });
  const results = await session.run(new Map([...textInputs(stream, config, ids), ...tensors]));
  await session.done();
  return { hidden: results.get("hidden")!, pooled: results.get("pooled") ?? null };
}

/** Tensors [n, T, X] side by side along the last axis. */
export function beside(parts: readonly Tensor[]): FloatTensor {
  const [n = 0, T = 0] = parts[0]!.shape;
  const widths = parts.map(({ shape }) => shape[2]!);
  const width = widths.reduce((a, b) => a + b);
  const all = floatTensor([n, T, width]);
  let at = 0;
  parts.forEach(({ data }, i) => {
    const own = widths[i]!;
    for (let row = 0; row < n * T; row++) {
      all.data.set((data as Float32Array).subarray(row * own, (row + 1) * own), row * width + at);
    }
    at += own;
  });
  return all;
}
