/** `lowrank image generate` */

import { extname } from "node:path";
import type { ImageOptions, ImageRequest } from "../../diffusion/generate.ts";
import { IMAGE_PRECISIONS, type ImagePrecision } from "../../diffusion/precision.ts";
import { UsageError } from "../../errors.ts";
import { cacheFolder } from "../cache-folder.ts";
import { type Command, defineCommand } from "../command.ts";
import { chooseFrom, loadAdapters, readLatents, readStart } from "../image-inputs.ts";
import { IMAGE_MODEL_FLAGS, imageModel } from "../image-model.ts";
import { defaultThreads } from "../threads.ts";
import { packageVersion } from "../version.ts";

const command: Command = defineCommand({
  summary: "Generate images with Stable Diffusion and its adapters",
  usage: "--model DIR --prompt TEXT --out FILE.png [--adapter [NAME=]PATH[@WEIGHT] …] [options]",
  flags: {
    model: {
      type: "string",
      value: "DIR",
      required: true,
      help: "Base: a diffusers folder, a single file, a hub id, or embedded:NAME",
    },
    prompt: {
      type: "string",
      value: "TEXT",
      required: true,
      help: "What to show; <lora:NAME:0.8> in it sets an adapter's weight",
    },
    out: { type: "string", value: "FILE.png", required: true, help: "The image; several are numbered: FILE-1.png, …" },
    adapter: {
      type: "repeated",
      value: "[NAME=]PATH[@WEIGHT]",
      help: "A LoRA file or its folder; several are applied together",
    },
    adaptersDir: { type: "string", value: "DIR", help: "Where <lora:NAME> finds NAME.safetensors" },
    blockWeights: {
      type: "repeated",
      value: "NAME:down=0.5,mid=0,up.1=0.2",
      help: "Weights of parts of the UNet, times the adapter's",
    },
    negativePrompt: { type: "string", value: "TEXT", help: "What not to show" },
    width: { type: "integer", help: "Pixels, a multiple of 8 (the model's own size)" },
    height: { type: "integer", help: "Pixels, a multiple of 8 (the model's own size)" },
    steps: { type: "integer", help: "Steps from noise to image" },
    guidance: { type: "number", help: "How far the prompt is followed; 1 halves the time" },
    guidanceRescale: { type: "number", help: "Share of the way back to the prediction's own contrast, 0 to 1" },
    scheduler: {
      type: "string",
      value: "NAME",
      help: "Sampler in place of the model's own: euler, dpm++2m-karras, lcm, …",
    },
    seed: { type: "integer", help: "Fixes the noise; each further image's is 1 more" },
    count: { type: "integer", help: "How many images" },
    image: {
      type: "string",
      value: "FILE",
      help: "An image to start from (PNG; JPEG and WebP with the package sharp)",
    },
    strength: { type: "number", help: "How much of the image is made anew, 0 to 1" },
    latents: {
      type: "string",
      value: "FILE",
      help: "safetensors file with the noise to start from: latents [count, channels, h, w]",
    },
    clipSkip: { type: "integer", help: "Last layers of the text encoder to leave out" },
    ...IMAGE_MODEL_FLAGS,
    precision: { type: "string", choices: IMAGE_PRECISIONS, help: "Arithmetic of UNet and text encoders (fp32)" },
    previewSteps: { type: "integer", help: "Writes FILE.preview.png after so many steps; 0 never" },
    threads: { type: "integer", help: "Threads to compute with (one a core)" },
  },
  defaults: async () => ({ ...(await import("../../diffusion/generate.ts")).IMAGE_DEFAULTS }),
  events: true,
  notes:
    "Example: lowrank image generate --model sd15 --prompt 'a fox <lora:papercut:0.8>' --adapter papercut=papercut.safetensors --out fox.png",
  run: async ({ flags, output }) => {
    const [
      { openPipeline },
      { IMAGE_DEFAULTS, openImageGenerator },
      { imageTexts },
      { nodeRuntime },
      { encodePng },
      { writeFileAtomic },
      { pipelineAt },
    ] = await Promise.all([
      import("../../diffusion/pipeline.ts"),
      import("../../diffusion/generate.ts"),
      import("../../diffusion/image-facts.ts"),
      import("../../runtime/node.ts"),
      import("../../files/png.ts"),
      import("../../files/atomic.ts"),
      import("../../diffusion/precision.ts"),
    ]);
    const {
      model,
      out,
      prompt,
      negativePrompt = null,
      adapter,
      adaptersDir,
      blockWeights,
      tokenizer,
      modelConfig,
      prediction,
      precision = "fp32",
      threads,
      ...rest
    } = flags;
    if (extname(out) !== ".png") throw new UsageError(`--out: found ${out}, needed a name that ends in .png.`);
    const { model: place, ...opening } = await imageModel({ model, tokenizer, modelConfig, prediction });
    const pipeline = await pipelineAt(openPipeline(place, opening), precision as ImagePrecision, {
      cacheDir: cacheFolder(),
      runtime: nodeRuntime,
    });
    const { text, chosen } = chooseFrom({ prompt, adapter, adaptersDir, blockWeights });
    const adapters = await loadAdapters(chosen, pipeline, (message) => output.note(message));
    const { image, latents, ...others } = rest;
    const options = Object.fromEntries(
      Object.entries(others).filter(([name]) => name in IMAGE_DEFAULTS),
    ) as Partial<ImageOptions>;
    const request: ImageRequest = {
      ...options,
      prompt: text,
      negativePrompt,
      adapters,
      image: image === undefined ? null : await readStart(image, options),
      latents: latents === undefined ? null : await readLatents(latents),
    };
    const { steps, count, guidance, guidanceRescale, clipSkip, strength, scheduler } = {
      ...IMAGE_DEFAULTS,
      ...options,
    };
    const facts = {
      model: pipeline.name,
      prompt,
      negativePrompt,
      steps,
      scheduler: scheduler ?? String(pipeline.scheduler["_class_name"]),
      guidance,
      guidanceRescale,
      strength: request.image ? strength : null,
      clipSkip,
      adapters: chosen.map(({ name, weights: { unet, text: ofText } }) => ({ name, unet, text: ofText })),
    };
    const generator = openImageGenerator(pipeline, nodeRuntime, { threads: threads ?? defaultThreads() });
    const stem = out.slice(0, -".png".length);
    const images: { path: string; seed: number; seconds: number }[] = [];
    output.event({ event: "start", ...facts, count });
    try {
      for await (const event of generator.generate(request)) {
        if (event.event === "step") {
          output.event(event);
          const which = count === 1 ? "" : `image ${event.image + 1} of ${count}, `;
          output.progress(`${which}step ${event.step} of ${event.steps}, ${event.seconds.toFixed(1)} s each`);
          continue;
        }
        const { picture, ...told } = event;
        const path =
          event.event === "preview" ? `${stem}.preview.png` : count === 1 ? out : `${stem}-${event.image + 1}.png`;
        const { width, height } = picture;
        const seed = event.event === "image" ? event.seed : 0;
        writeFileAtomic(
          path,
          encodePng(
            picture,
            event.event === "image" ? imageTexts({ ...facts, seed, width, height }, packageVersion()) : {},
          ),
        );
        output.event({ ...told, path, width, height });
        if (event.event !== "image") continue;
        images.push({ path, seed, seconds: event.seconds });
        if (!output.json) output.line(`${path}: seed ${seed}, ${event.seconds.toFixed(1)} s`);
      }
    } finally {
      await generator.close();
    }
    output.event({ event: "done", images });
  },
});

export default command;
