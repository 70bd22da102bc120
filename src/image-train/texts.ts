/**
 * Texts as the UNet reads them, and the way back. Each text encoder is a session of its own, and its gradients, where it
 * is trained, come from a second one, which is given the loss's gradients by what the UNet has read.
 */

import { gradient } from "../autodiff/gradient.ts";
import type { Pipeline, TextEncoder } from "../diffusion/pipeline.ts";
import type { SessionPool } from "../diffusion/session-pool.ts";
import { beside } from "../diffusion/text-encoding.ts";
import { textInputs } from "../diffusion/text-layout.ts";
import { input, type Value } from "../graph/graph.ts";
import { add, mul } from "../graph/ops/arithmetic.ts";
import { reshape, sumAll } from "../graph/ops/broadcast.ts";
import { clipText } from "../models/clip-text.ts";
import { createStream } from "../models/stream.ts";
import { type FloatTensor, floatTensor, type Tensor } from "../tensor/tensor.ts";
import type { Trained } from "./trained.ts";

/** A text's ids for each text encoder. */
export type TextIds = readonly Int32Array[];

/** What the UNet reads of texts, or the loss's gradients by it. */
export interface TextStates {
  /** [B, T, X] */
  readonly context: FloatTensor;
  /** [B, P] of models that read it (Stable Diffusion XL). */
  readonly pooled: FloatTensor | null;
}

/** Of one encoder: hidden states [B, T, own width], and pooled text. */
interface EncoderStates {
  readonly hidden: Value;
  readonly pooled: Value | null;
}

function statesOf(pipeline: Pipeline, index: number, w: ReturnType<Trained["mount"]>["weights"]): EncoderStates {
  const { config } = pipeline.textEncoders[index]!;
  const { states, last, pooled } = clipText(w, config, w.stream);
  // Two encoders give the state before the last layer as it is; the second one's pooled text is read as well.
  const several = pipeline.textEncoders.length > 1;
  const hidden = several ? states.at(-2)! : last;
  return {
    hidden: reshape(hidden, [w.stream.B, w.stream.T, config.hidden_size]),
    pooled: several && index === pipeline.textEncoders.length - 1 ? pooled() : null,
  };
}

async function encodeTexts(
  pipeline: Pipeline,
  trained: Trained,
  texts: readonly TextIds[],
  pool: SessionPool,
): Promise<TextStates> {
  const hidden: Tensor[] = [];
  let pooled: FloatTensor | null = null;
  for (const [i, encoder] of pipeline.textEncoders.entries()) {
    const { weights, feeds, key } = mounted(encoder, trained, texts, i);
    const session = await pool.open(key, () => {
      const states = statesOf(pipeline, i, weights);
      return new Map<string, Value>([
        ["hidden", states.hidden],
        ...(states.pooled ? ([["pooled", states.pooled]] as const) : []),
      ]);
    });
    const results = await session.run(feeds);
    await session.done();
    hidden.push(results.get("hidden")!);
    pooled = (results.get("pooled") as FloatTensor | undefined) ?? pooled;
  }
  return { context: hidden.length === 1 ? (hidden[0] as FloatTensor) : beside(hidden), pooled };
}

/** Texts encoded for a pass. */
export interface TextSource {
  encode(texts: readonly TextIds[], pool: SessionPool): Promise<TextStates>;
}

/** Texts that stay in memory while no text encoder is trained: 77 tokens of 2048 take 0.6 MB. */
const KEPT = 512;

/** Encodes anew where a text encoder is trained; else each text once, as long as it is among the last ones used. */
export function textSource(pipeline: Pipeline, trained: Trained): TextSource {
  if (trainsTexts(pipeline, trained)) return { encode: (texts, pool) => encodeTexts(pipeline, trained, texts, pool) };
  const held = new Map<string, TextStates>();
  return {
    encode: async (texts, pool) => {
      const all: TextStates[] = [];
      for (const ids of texts) {
        const key = ids.map((each) => each.join(" ")).join("|");
        const states = held.get(key) ?? ownedStates(await encodeTexts(pipeline, trained, [ids], pool));
        held.delete(key);
        held.set(key, states);
        if (held.size > KEPT) held.delete(held.keys().next().value!);
        all.push(states);
      }
      const [{ context, pooled }] = all as [TextStates];
      return {
        context: stacked(
          all.map((each) => each.context),
          context.shape,
        ),
        pooled:
          pooled &&
          stacked(
            all.map((each) => each.pooled!),
            pooled.shape,
          ),
      };
    },
  };
}

/** In memory that no session writes to again. */
function ownedStates({ context, pooled }: TextStates): TextStates {
  const owned = (tensor: FloatTensor): FloatTensor => floatTensor(tensor.shape, tensor.data.slice());
  return { context: owned(context), pooled: pooled && owned(pooled) };
}

function stacked(parts: readonly FloatTensor[], [, ...rest]: readonly number[]): FloatTensor {
  const all = floatTensor([parts.length, ...rest]);
  parts.forEach(({ data }, i) => {
    all.data.set(data, i * data.length);
  });
  return all;
}

/** Whether any of the text encoders' tensors is trained. */
export function trainsTexts({ textEncoders }: Pipeline, { parameters }: Trained): boolean {
  return textEncoders.some(({ component }) => trainsComponent(component, parameters));
}

function trainsComponent(component: string, parameters: ReadonlyMap<string, unknown>): boolean {
  return [...parameters.keys()].some((key) => key.startsWith(`${component}.`));
}

/** Gradients of the text encoders' trained tensors, `grad.NAME`, from the loss's by `context` and `pooled`. */
export async function textGradients(
  pipeline: Pipeline,
  trained: Trained,
  texts: readonly TextIds[],
  seeds: TextStates,
  pool: SessionPool,
): Promise<ReadonlyMap<string, Tensor>> {
  const all = new Map<string, Tensor>();
  let column = 0;
  for (const [i, encoder] of pipeline.textEncoders.entries()) {
    const width = encoder.config.hidden_size;
    const own = columnsOf(seeds.context, column, width);
    column += width;
    if (!trainsComponent(encoder.component, trained.parameters)) continue;
    const { weights, parameters, feeds, key } = mounted(encoder, trained, texts, i);
    const session = await pool.open(`${key} backward`, () => {
      const { hidden, pooled } = statesOf(pipeline, i, weights);
      const product = (value: Value, name: string): Value => sumAll(mul(value, input(name, "f32", value.shape)));
      const through = product(hidden, "seed");
      return gradientsOf(pooled ? add(through, product(pooled, "pooledSeed")) : through, parameters);
    });
    feeds.set("seed", own);
    if (i === pipeline.textEncoders.length - 1 && seeds.pooled) feeds.set("pooledSeed", seeds.pooled);
    for (const [name, tensor] of await session.run(feeds)) all.set(name, tensor);
    await session.done();
  }
  return all;
}

function mounted(
  { component, config }: TextEncoder,
  trained: Trained,
  texts: readonly TextIds[],
  index: number,
): ReturnType<Trained["mount"]> & { readonly feeds: Map<string, Tensor>; readonly key: string } {
  const own = texts.map((ids) => ids[index]!);
  const [B, T] = [own.length, own[0]!.length];
  const stream = createStream(B, T);
  const ids = new Int32Array(B * T);
  own.forEach((each, i) => {
    ids.set(each, i * T);
  });
  const mount = trained.mount(component, stream);
  const feeds = new Map<string, Tensor>([...textInputs(stream, config, ids), ...mount.tensors]);
  return { ...mount, feeds, key: `${component} ${B} ${T}` };
}

/** Columns of the last axis. */
function columnsOf({ shape: [B = 0, T = 0, X = 0], data }: FloatTensor, from: number, width: number): FloatTensor {
  const part = floatTensor([B, T, width]);
  for (let row = 0; row < B * T; row++) {
    part.data.set(data.subarray(row * X + from, row * X + from + width), row * width);
  }
  return part;
}

/** `grad.NAME` for each of `targets`; none for what the value does not depend on. */
export function gradientsOf(value: Value, targets: ReadonlyMap<string, Value>): Map<string, Value> {
  const names = [...targets.keys()];
  const outputs = new Map<string, Value>();
  gradient(value, [...targets.values()]).forEach((dy, i) => {
    if (dy) outputs.set(`grad.${names[i]}`, dy);
  });
  return outputs;
}
