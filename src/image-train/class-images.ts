/**
 * Pictures of the class that the base is to keep, drawn by the base itself before training (prior preservation, Ruiz et al.
 * 2023), when the folder holds too few. Source of the rule: diffusers `examples/dreambooth/train_dreambooth_lora.py`.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { openImageGenerator } from "../diffusion/generate.ts";
import type { Pipeline } from "../diffusion/pipeline.ts";
import { writeFileAtomic } from "../files/atomic.ts";
import { makeFolder } from "../files/make-folder.ts";
import { encodePng } from "../files/png.ts";
import type { Runtime } from "../runtime/session.ts";
import type { ClassImageEvent } from "./events.ts";
import { countImages } from "./image-folder.ts";
import type { ImageTrainOptions } from "./options.ts";

/** Denoising steps of a picture. */
const STEPS = 50;

/** Writes CLASS/class-00012.png with its caption until there are `numClassImages`; each number has its own seed. */
export async function* drawClassImages(
  pipeline: Pipeline,
  { classData, classPrompt, numClassImages, seed, resolution, threads }: ImageTrainOptions,
  runtime: Runtime,
): AsyncGenerator<ClassImageEvent> {
  if (classData === null || classPrompt === null) return;
  makeFolder(classData);
  const missing = numClassImages - countImages(classData);
  if (missing <= 0) return;
  const generator = openImageGenerator(pipeline, runtime, { threads, keepSessions: 3 });
  try {
    let drawn = 0;
    for (let number = 1; drawn < missing; number++) {
      const path = join(classData, `class-${String(number).padStart(5, "0")}.png`);
      if (existsSync(path)) continue;
      const request = { prompt: classPrompt, seed: seed + number, steps: STEPS, width: resolution, height: resolution };
      for await (const event of generator.generate(request)) {
        if (event.event !== "image") continue;
        // The caption first: an image without one would teach that nothing is said.
        writeFileAtomic(path.replace(/png$/, "txt"), new TextEncoder().encode(`${classPrompt}\n`));
        writeFileAtomic(path, encodePng(event.picture, { prompt: classPrompt }));
        drawn += 1;
        yield { event: "class-image", image: drawn, images: missing, path };
      }
    }
  } finally {
    await generator.close();
  }
}
