/** What made an image, as texts in its file: `parameters` as Stable Diffusion's interfaces read them, `lowrank` as JSON. */

export interface ImageFacts {
  readonly model: string;
  readonly prompt: string;
  readonly negativePrompt: string | null;
  readonly steps: number;
  readonly scheduler: string;
  readonly guidance: number;
  readonly guidanceRescale: number;
  readonly seed: number;
  readonly width: number;
  readonly height: number;
  /** Share of the steps of image to image; null for images from noise. */
  readonly strength: number | null;
  readonly clipSkip: number | null;
  readonly adapters: readonly { readonly name: string; readonly unet: number; readonly text: number }[];
}

export function imageTexts(facts: ImageFacts, version: string): Record<string, string> {
  const { prompt, negativePrompt, steps, scheduler, guidance, seed, width, height, model, strength, clipSkip } = facts;
  const settings = [
    `Steps: ${steps}`,
    `Sampler: ${scheduler}`,
    `CFG scale: ${guidance}`,
    `Seed: ${seed}`,
    `Size: ${width}x${height}`,
    `Model: ${model}`,
    ...(strength === null ? [] : [`Denoising strength: ${strength}`]),
    ...(clipSkip === null ? [] : [`Clip skip: ${clipSkip + 1}`]), // theirs counts from 1
    `Version: lowrank ${version}`,
  ];
  const lines = [prompt, ...(negativePrompt ? [`Negative prompt: ${negativePrompt}`] : []), settings.join(", ")];
  return { parameters: lines.join("\n"), lowrank: JSON.stringify({ version, ...facts }) };
}
