/** Images that the model in training draws on its way, so that one sees what a loss means. */

import { join } from "node:path";
import type { ImageAdapter } from "../diffusion/adapter.ts";
import { openImageGenerator } from "../diffusion/generate.ts";
import type { Pipeline } from "../diffusion/pipeline.ts";
import { evenWeights } from "../diffusion/prompt.ts";
import { writeFileAtomic } from "../files/atomic.ts";
import { makeFolder } from "../files/make-folder.ts";
import { encodePng } from "../files/png.ts";
import type { Runtime } from "../runtime/session.ts";
import type { ImageSampleEvent } from "./events.ts";
import type { ImageTrainOptions } from "./options.ts";

/** Denoising steps of a sample. */
const STEPS = 20;

/** Writes OUT/samples/step-000100-0.png for each prompt; every time from the same noise. */
export async function* drawSamples(
  pipeline: Pipeline,
  adapter: ImageAdapter,
  { samplePrompts, out, seed, threads, resolution }: ImageTrainOptions,
  step: number,
  runtime: Runtime,
): AsyncGenerator<ImageSampleEvent> {
  const folder = join(out, "samples");
  makeFolder(folder);
  const generator = openImageGenerator(pipeline, runtime, { threads, keepSessions: 1 });
  try {
    for (const [i, prompt] of samplePrompts.entries()) {
      const adapters = [{ name: "training", adapter, weights: evenWeights(1) }];
      for await (const event of generator.generate({
        prompt,
        adapters,
        seed: seed + i,
        steps: STEPS,
        width: resolution,
        height: resolution,
      })) {
        if (event.event !== "image") continue;
        const path = join(folder, `step-${String(step).padStart(6, "0")}-${i}.png`);
        writeFileAtomic(path, encodePng(event.picture, { prompt, step: String(step) }));
        yield { event: "sample", step, prompt, path };
      }
    }
  } finally {
    await generator.close();
  }
}
