/** Eight bits beside float32, on the reference cases: what the UNet and the text encoder compute, and LoRA's gradients. */

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readNoiseSchedule } from "../../src/diffusion/noise-schedule.ts";
import { openPipeline } from "../../src/diffusion/pipeline.ts";
import { pipelineAt } from "../../src/diffusion/precision.ts";
import { readImageLora } from "../../src/diffusion/read-lora.ts";
import { createSessionPool } from "../../src/diffusion/session-pool.ts";
import { type PassResult, runPass } from "../../src/image-train/denoising.ts";
import { imageTrainOptions } from "../../src/image-train/options.ts";
import { textSource } from "../../src/image-train/texts.ts";
import { trainedBranches } from "../../src/image-train/trained.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { randomStream } from "../../src/tensor/random.ts";

const scratch = mkdtempSync(join(tmpdir(), "lowrank-int8-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Loss and gradients of two images with the case's LoRA on UNet and text encoder. */
async function pass(name: string, precision: "fp32" | "int8"): Promise<PassResult> {
  const folder = join(import.meta.dirname, "cases", name);
  const opened = openPipeline(folder);
  const pipeline = await pipelineAt(opened, precision, { cacheDir: scratch, runtime: nodeRuntime });
  const { adapter } = readImageLora(join(folder, "lora_kohya", "lora.safetensors"), opened);
  const trained = trainedBranches(pipeline, imageTrainOptions({ model: "", data: "", out: "" }), adapter);
  const random = randomStream(4);
  const normal = (): Float32Array => Float32Array.from({ length: 4 * 8 * 8 }, () => random.normal());
  const { max_position_embeddings: T, vocab_size } = pipeline.textEncoders[0]!.config;
  const images = [200, 700].map((t) => ({
    latents: normal(),
    noise: normal(),
    t,
    ids: [Int32Array.from({ length: T }, () => random.integer(vocab_size))],
    sizes: [8, 8, 0, 0, 8, 8] as const,
    weight: 0.5,
  }));
  const pool = createSessionPool(nodeRuntime, { threads: 1 }, 3);
  try {
    const schedule = readNoiseSchedule(pipeline.scheduler);
    const texts = textSource(pipeline, trained);
    return await runPass(pipeline, trained, images, { pool, texts, schedule, h: 8, w: 8, gradients: true });
  } finally {
    await pool.close();
  }
}

test.each(["sd1", "sd2"])("%s: loss and gradients stay near those of float32", async (name) => {
  const [exact, bytes] = [await pass(name, "fp32"), await pass(name, "int8")];
  const off = Math.abs(bytes.loss / exact.loss - 1);
  expect(off).toBeGreaterThan(0); // eight bits were computed
  expect(off).toBeLessThan(5e-3);
  let [along, ours, theirs] = [0, 0, 0];
  for (const [key, wanted] of exact.gradients) {
    const found = bytes.gradients.get(key)!;
    wanted.forEach((value, i) => {
      along += value * found[i]!;
      ours += found[i]! ** 2;
      theirs += value ** 2;
    });
  }
  expect(along / Math.sqrt(ours * theirs)).toBeGreaterThan(0.995);
  const again = await pass(name, "int8");
  expect(again.loss).toBe(bytes.loss);
  expect(readdirSync(scratch).filter((file) => file.startsWith(`${name}-unet-int8-`)).length).toBe(1);
});
