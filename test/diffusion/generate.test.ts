/** Images of tiny pipelines against diffusers', from the same noise: make_pipelines.py says how they were made. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { unetInputs } from "../../src/diffusion/component.ts";
import {
  type ImageEvent,
  type ImageRequest,
  openImageGenerator,
  type WeightedAdapter,
} from "../../src/diffusion/generate.ts";
import { openPipeline } from "../../src/diffusion/pipeline.ts";
import { evenWeights } from "../../src/diffusion/prompt.ts";
import { readImageLora } from "../../src/diffusion/read-lora.ts";
import { UsageError } from "../../src/errors.ts";
import type { RgbImage } from "../../src/files/png.ts";
import { openSafetensors, readTensors } from "../../src/files/safetensors.ts";
import { createStream } from "../../src/models/stream.ts";
import { timeFeatures, unet } from "../../src/models/unet.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { type FloatTensor, floatTensor } from "../../src/tensor/tensor.ts";

interface Case {
  readonly prompt: string;
  readonly negative?: string;
  readonly width: number;
  readonly height: number;
  readonly steps: number;
  readonly guidance: number;
  readonly rescale?: number;
  readonly lora?: number;
  readonly scheduler?: string;
  readonly clipSkip?: number;
  readonly strength?: number;
}

const folderOf = (name: string): string => fileURLToPath(new URL(`pipelines/${name}`, import.meta.url));
const open = (name: string) => {
  const folder = folderOf(name);
  return {
    pipeline: openPipeline(folder),
    expected: readTensors(openSafetensors(join(folder, "expected.safetensors"))),
    ...(JSON.parse(readFileSync(join(folder, "cases.json"), "utf8")) as {
      prompts: Record<string, string>;
      cases: Record<string, Case>;
    }),
  };
};
const adapterOf = (pipeline: ReturnType<typeof openPipeline>, weight: number): WeightedAdapter => ({
  name: "a",
  adapter: readImageLora(join(pipeline.folder, "lora.safetensors"), pipeline).adapter,
  weights: evenWeights(weight),
});

async function imagesOf(
  pipeline: ReturnType<typeof openPipeline>,
  request: ImageRequest,
  keepSessions = 0,
): Promise<{ images: RgbImage[]; events: ImageEvent[] }> {
  const generator = openImageGenerator(pipeline, nodeRuntime, { threads: 1, keepSessions });
  const events: ImageEvent[] = [];
  for await (const event of generator.generate(request)) events.push(event);
  await generator.close();
  return { events, images: events.flatMap((event) => (event.event === "image" ? [event.picture] : [])) };
}

describe.each(["sd1", "xl"])("%s: images are diffusers' within 2 of 255", (name) => {
  const { pipeline, expected, prompts, cases } = open(name);
  test.each(Object.entries(cases))("%s", async (id, each) => {
    const start = expected.get(`${id}.start`);
    const request: ImageRequest = {
      prompt: prompts[each.prompt]!,
      negativePrompt: each.negative === undefined ? null : prompts[each.negative]!,
      width: each.width,
      height: each.height,
      steps: each.steps,
      guidance: each.guidance,
      guidanceRescale: each.rescale ?? 0,
      scheduler: each.scheduler ?? null,
      clipSkip: each.clipSkip ?? null,
      adapters: each.lora === undefined ? [] : [adapterOf(pipeline, each.lora)],
      latents: expected.get(`${id}.latents`)!.data as Float32Array,
      image: start ? { width: each.width, height: each.height, data: start.data as Uint8Array } : null,
      ...(each.strength === undefined ? {} : { strength: each.strength }),
    };
    const { images } = await imagesOf(pipeline, request);
    const wanted = expected.get(`${id}.image`)!.data as Uint8Array;
    expect(images[0]!.data.length).toBe(wanted.length);
    expect(Math.max(...images[0]!.data.map((value, i) => Math.abs(value - wanted[i]!)))).toBeLessThanOrEqual(2);
  });
});

test("an adapter of weight 0 leaves every bit as it is, a part's weight of 0 leaves that part", async () => {
  const { pipeline } = open("sd1");
  const request: ImageRequest = { prompt: "a tree", width: 16, height: 16, steps: 2, seed: 3 };
  const [plain, none, some, other] = await Promise.all([
    imagesOf(pipeline, request),
    imagesOf(pipeline, { ...request, adapters: [adapterOf(pipeline, 0)] }),
    imagesOf(pipeline, {
      ...request,
      adapters: [{ ...adapterOf(pipeline, 1), weights: { unet: 1, text: 0, blocks: { down: 0, mid: 0, up: 0 } } }],
    }),
    imagesOf(pipeline, { ...request, adapters: [adapterOf(pipeline, 1)] }),
  ]);
  expect(none.images[0]!.data).toEqual(plain.images[0]!.data);
  expect(some.images[0]!.data).toEqual(plain.images[0]!.data);
  expect(other.images[0]!.data).not.toEqual(plain.images[0]!.data);
});

test("several images have the seeds that follow, and are those seeds' own; sessions may be kept", async () => {
  const { pipeline } = open("sd1");
  const request: ImageRequest = { prompt: "a tree", width: 16, height: 16, steps: 3, scheduler: "euler-ancestral" };
  const both = await imagesOf(pipeline, { ...request, seed: 7, count: 2, previewSteps: 2 }, 8);
  const second = await imagesOf(pipeline, { ...request, seed: 8 });
  expect(both.images[1]!.data).toEqual(second.images[0]!.data);
  expect(both.images[0]!.data).not.toEqual(both.images[1]!.data);
  expect(both.events.map(({ event }) => event).join(" ")).toBe(
    "step step preview step image step step preview step image",
  );
});

test("sizes, latents and images that do not fit are refused before anything is computed", async () => {
  const { pipeline } = open("sd1");
  const refused = (request: Partial<ImageRequest>): Promise<unknown> => imagesOf(pipeline, { prompt: "x", ...request });
  await expect(refused({ width: 15 })).rejects.toThrow("width 15 is no multiple of 2");
  await expect(refused({ latents: new Float32Array(3) })).rejects.toThrow(
    "The latents have 3 numbers, needed 256: [1, 4, 8, 8]",
  );
  await expect(refused({ scheduler: "best" })).rejects.toThrow(UsageError);
  await expect(refused({ clipSkip: 3 })).rejects.toThrow("--clip-skip 3");
  const image = { width: 4, height: 4, data: new Uint8Array(48) };
  await expect(refused({ image, width: 16 })).rejects.toThrow("4 × 4 pixels, needed 16 × 4");
});

test("the UNet takes sizes that halving does not divide", async () => {
  const { pipeline, expected } = open("sd1");
  const { config, weights } = pipeline.unet;
  const [sample, context] = [expected.get("odd.sample")!, expected.get("odd.context")!];
  const inputs = unetInputs(config, { B: 2, H: 7, W: 5, M: 3 });
  const session = await nodeRuntime.open(new Map([["output", unet(weights(createStream(1, 1)), config, inputs)]]), {
    threads: 1,
  });
  const time = floatTensor([2, 8], timeFeatures([3, 900], 8, config));
  const results = await session.run(
    new Map([
      ["sample", sample],
      ["context", context],
      ["time", time],
    ]),
  );
  await session.close();
  const [found, wanted] = [results.get("output")!, expected.get("odd.output")!].map(
    (each) => (each as FloatTensor).data,
  );
  wanted!.forEach((value, i) => {
    expect(Math.abs(found![i]! - value)).toBeLessThan(1e-4);
  });
});
