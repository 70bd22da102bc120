import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openPipeline } from "../../src/diffusion/pipeline.ts";
import { readImageLora } from "../../src/diffusion/read-lora.ts";
import { encodePng } from "../../src/files/png.ts";
import type { ImageTrainEvent } from "../../src/image-train/events.ts";
import type { ImageTrainInput } from "../../src/image-train/options.ts";
import { trainImagesHere } from "../../src/image-train/train.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { singleFile } from "../diffusion/single-files.ts";

const MODEL = join(import.meta.dirname, "../diffusion/pipelines/sd1");
const folder = mkdtempSync(join(tmpdir(), "lowrank-image-train-"));
const data = join(folder, "data");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeAll(() => {
  mkdirSync(data);
  for (const [i, name] of ["red", "house", "tree"].entries()) {
    const pixels = Uint8Array.from({ length: 3 * 16 * 16 }, (_, at) => (at * (i + 3)) % 251);
    writeFileSync(join(data, `${name}.png`), encodePng({ width: 16, height: 16, data: pixels }));
    writeFileSync(join(data, `${name}.txt`), `the ${name}, small`);
  }
});

function options(out: string, more: Partial<ImageTrainInput> = {}): ImageTrainInput {
  return {
    model: MODEL,
    data,
    out: join(folder, out),
    resolution: 16,
    r: 2,
    convR: 2,
    targets: "transformer",
    trainTextEncoder: true,
    batchSize: 2,
    gradAccum: 2,
    maxSteps: 4,
    saveSteps: 2,
    lr: 1e-2,
    trigger: "zig",
    captionDropout: 0.2,
    shuffleTags: true,
    flip: true,
    minSnrGamma: 5,
    noiseOffset: 0.05,
    ema: 0.6,
    threads: 1,
    ...more,
  };
}

async function events(input: ImageTrainInput, stopAfter?: number): Promise<ImageTrainEvent[]> {
  const seen: ImageTrainEvent[] = [];
  const stopRequested = (): boolean => seen.filter(({ event }) => event === "step").length === stopAfter;
  for await (const event of trainImagesHere(input, { runtime: nodeRuntime, stopRequested })) seen.push(event);
  return seen;
}

test("a run that was stopped and resumed leaves the same bytes; its files are read back", async () => {
  const whole = await events(options("whole"));
  const stopped = await events(options("parts"), 3);
  expect(stopped.at(-1)).toMatchObject({ event: "interrupted", step: 3 });
  const resumed = await events(options("parts", { resume: true }));
  expect(resumed[0]).toMatchObject({ event: "start", resumedFrom: 3 });
  const steps = (all: ImageTrainEvent[]): unknown[] =>
    all.flatMap((each) => (each.event === "step" ? [[each.step, each.loss, each.gradNorm]] : []));
  expect([...steps(stopped), ...steps(resumed)]).toEqual(steps(whole));
  const file = "pytorch_lora_weights.safetensors";
  const values = (out: string): Buffer => {
    const bytes = readFileSync(join(folder, out, file));
    return bytes.subarray(8 + Number(bytes.readBigUInt64LE(0))); // the header names the run
  };
  expect(values("parts").equals(values("whole"))).toBe(true);

  const pipeline = openPipeline(MODEL);
  const [one, two] = [join(folder, "whole", file), join(folder, "whole", "whole.safetensors")].map((path) =>
    readImageLora(path, pipeline),
  ) as [ReturnType<typeof readImageLora>, ReturnType<typeof readImageLora>];
  expect(one.unmatched).toEqual([]);
  expect(new Set(one.adapter.keys())).toEqual(new Set(["unet", "text_encoder"]));
  for (const [component, branches] of one.adapter) {
    for (const [module, { A, B, scale }] of branches) {
      const other = two.adapter.get(component)!.get(module)!;
      expect([other.scale, other.A.data, other.B.data]).toEqual([scale, A.data, B.data]);
    }
  }
  expect(two.metadata.get("modelspec.trigger_phrase")).toBe("zig");
}, 180_000);

test("other options than the run's are refused when it is resumed", async () => {
  await expect(events(options("whole", { resume: true, r: 3, maxSteps: 5 }))).rejects.toThrow(/r: was 2, is 3/);
  await expect(events(options("whole"))).rejects.toThrow(/holds checkpoints of an earlier run/);
});

test("every tensor of UNet and text encoder can be trained, and the autoencoder's", async () => {
  const held = { evalData: data, saveSteps: null, maxSteps: 3, captionDropout: 0, lr: 1e-3 };
  const full = await events(options("full", { ...held, method: "full" }));
  const losses = full.flatMap((each) => (each.event === "eval" ? [each.loss] : []));
  expect(losses.at(-1)!).toBeLessThan(losses[0]!);
  expect(openPipeline(join(folder, "full")).unet.trace.parameters).toBeGreaterThan(0);
  const vae = await events(options("vae", { ...held, evalData: null, method: "autoencoder", maxSteps: 6 }));
  const steps = vae.flatMap((each) => (each.event === "step" ? [each.loss] : []));
  expect(steps.at(-1)!).toBeLessThan(steps[0]!);
}, 180_000);

test("images of the class join each step; samples are drawn on the way", async () => {
  const all = await events(
    options("prior", { classData: data, saveSteps: null, maxSteps: 1, samplePrompts: ["the red house"], gradAccum: 1 }),
  );
  expect(all.find(({ event }) => event === "step")).toMatchObject({ images: 4 });
  const samples = all.flatMap((each) => (each.event === "sample" ? [each.path] : []));
  expect(samples.map((path) => existsSync(path))).toEqual([true, true]);
}, 180_000);

test("images of the class that are missing are drawn by the base, once", async () => {
  const classData = join(folder, "class");
  const more = { classData, classPrompt: "a tree", numClassImages: 3, saveSteps: null, maxSteps: 1, gradAccum: 1 };
  mkdirSync(classData);
  writeFileSync(join(classData, "own.png"), readFileSync(join(data, "tree.png")));
  const drawn = (all: ImageTrainEvent[]): string[] =>
    all.flatMap((each) => (each.event === "class-image" ? [each.path] : []));
  const first = await events(options("class-1", more));
  expect(drawn(first)).toEqual(["class-00001.png", "class-00002.png"].map((name) => join(classData, name)));
  expect(first.find(({ event }) => event === "start")).toMatchObject({ classImages: 3 });
  expect(readFileSync(join(classData, "class-00002.txt"), "utf8")).toBe("a tree\n");
  expect(drawn(await events(options("class-2", more)))).toEqual([]);
  await expect(events(options("class-3", { classPrompt: "a tree" }))).rejects.toThrow(/--class-data DIR/);
}, 180_000);

test("Stable Diffusion XL: both text encoders, from a single-file checkpoint as well", async () => {
  const xl = join(import.meta.dirname, "../diffusion/pipelines/xl");
  const more = { saveSteps: null, maxSteps: 2, gradAccum: 1, noiseOffset: 0 };
  const losses = (all: ImageTrainEvent[]): number[] =>
    all.flatMap((each) => (each.event === "step" ? [each.loss] : []));
  const own = losses(await events(options("xl", { model: xl, ...more })));
  const model = singleFile("xl", folder);
  expect(losses(await events(options("xl-single", { model, modelConfig: xl, ...more })))).toEqual(own);
  const read = readImageLora(join(folder, "xl", "xl.safetensors"), openPipeline(xl));
  expect([read.unmatched, [...read.adapter.keys()]]).toEqual([[], ["text_encoder", "text_encoder_2", "unet"]]);
  expect(read.metadata.get("modelspec.architecture")).toBe("stable-diffusion-xl-v1-base/lora");
}, 180_000);

test("a size that the model cannot have is refused", async () => {
  await expect(events(options("size", { resolution: 17 }))).rejects.toThrow(
    /--resolution 17: the model needs a multiple/,
  );
});
