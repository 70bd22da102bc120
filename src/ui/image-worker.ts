/** The drawing thread: one pipeline, the adapters last used, one picture at a time. */

import { parentPort, workerData } from "node:worker_threads";
import type { ImageAdapter } from "../diffusion/adapter.ts";
import { type ImageGenerator, openImageGenerator, type WeightedAdapter } from "../diffusion/generate.ts";
import { imageTexts } from "../diffusion/image-facts.ts";
import { openPipeline, type Pipeline } from "../diffusion/pipeline.ts";
import { readImageLora, unmatchedText } from "../diffusion/read-lora.ts";
import { encodePng, type RgbImage } from "../files/png.ts";
import { nodeRuntime } from "../runtime/node.ts";
import { toWire } from "../wire-error.ts";
import type { DrawCall, DrawEvent, DrawerData, FromDrawer, ToDrawer, UsedAdapter } from "./image-messages.ts";

/** Sessions kept open for models of at most so many parameters; larger ones give their memory back after each picture. */
const KEPT = { sessions: 8, parameters: 2e8 } as const;
/** Adapters kept in memory. */
const MOST_ADAPTERS = 8;

const { base, threads, version, cancelled } = workerData as DrawerData;
const post = (message: FromDrawer): void => parentPort!.postMessage(message);

interface Opened {
  readonly pipeline: Pipeline;
  readonly generator: ImageGenerator;
}
interface ReadAdapter {
  /** Of the graph's inputs: a file that was written again is another adapter. */
  readonly name: string;
  readonly adapter: ImageAdapter;
  /** What matched no layer, in words. */
  readonly left: string | null;
}

let opened: Opened | null = null;
/** By file and time. */
const read = new Map<string, ReadAdapter>();
let names = 0;

function open(): Opened {
  const { model, ...options } = base;
  const pipeline = openPipeline(model, options);
  const { parameters } = pipeline.unet.trace;
  const keepSessions = parameters <= KEPT.parameters ? KEPT.sessions : 0;
  return { pipeline, generator: openImageGenerator(pipeline, nodeRuntime, { threads, keepSessions }) };
}

function adapterOf(pipeline: Pipeline, { file, time }: UsedAdapter): ReadAdapter {
  const key = `${file} ${time}`;
  const lora = read.get(key) ?? readAdapter(pipeline, file);
  read.delete(key);
  read.set(key, lora);
  for (const old of [...read.keys()].slice(0, -MOST_ADAPTERS)) read.delete(old);
  return lora;
}

function readAdapter(pipeline: Pipeline, file: string): ReadAdapter {
  const lora = readImageLora(file, pipeline);
  return { name: `adapter${++names}`, adapter: lora.adapter, left: unmatchedText(file, lora) };
}

async function draw({ typed, prompt, negativePrompt, options, adapters }: DrawCall, number: number): Promise<void> {
  opened ??= open();
  const { pipeline, generator } = opened;
  const tell = (event: DrawEvent): void => post({ number, event });
  const mounted = adapters.map((used): WeightedAdapter => {
    const { name, adapter, left } = adapterOf(pipeline, used);
    if (left !== null) tell({ event: "warning", message: left });
    return { name, adapter, weights: used.weights };
  });
  const facts = (picture: RgbImage): Record<string, string> =>
    imageTexts(
      {
        model: pipeline.name,
        prompt: typed,
        negativePrompt,
        steps: options.steps,
        scheduler: String(pipeline.scheduler["_class_name"]),
        guidance: options.guidance,
        guidanceRescale: 0,
        strength: null,
        clipSkip: null,
        adapters: adapters.map(({ name, weights: { unet, text } }) => ({ name, unet, text })),
        seed: options.seed,
        width: picture.width,
        height: picture.height,
      },
      version,
    );
  for await (const event of generator.generate({ prompt, negativePrompt, adapters: mounted, ...options })) {
    if (Atomics.load(cancelled, 0) >= number) return;
    if (event.event === "step") tell({ event: "step", step: event.step, steps: event.steps });
    else if (event.event === "preview") tell({ event: "preview", png: encodePng(event.picture) });
    else tell({ event: "image", png: encodePng(event.picture, facts(event.picture)), seconds: event.seconds });
  }
}

/** A call that was left may still be in its last step. */
let before: Promise<void> = Promise.resolve();
parentPort!.on("message", ({ number, call }: ToDrawer) => {
  before = before
    .then(() => draw(call, number))
    .then(
      () => post({ number, end: true }),
      (error: unknown) => post({ number, error: toWire(error) }),
    );
});
