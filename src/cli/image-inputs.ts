/** What `image generate` is given, read from its files. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { type ChosenAdapter, chooseAdapters, type NamedAdapter } from "../diffusion/choose-adapters.ts";
import type { WeightedAdapter } from "../diffusion/generate.ts";
import type { Pipeline } from "../diffusion/pipeline.ts";
import { parseBlocks, parsePrompt } from "../diffusion/prompt.ts";
import { FormatError, UsageError } from "../errors.ts";
import type { RgbImage } from "../files/png.ts";
import { adapterArguments } from "./adapter-argument.ts";

export interface AdapterFlags {
  readonly prompt: string;
  readonly adapter: readonly string[] | undefined;
  readonly adaptersDir: string | undefined;
  readonly blockWeights: readonly string[] | undefined;
}

/** The prompt without its tags, and the adapters that it and the flags name. */
export function chooseFrom(flags: AdapterFlags): { text: string; chosen: ChosenAdapter[] } {
  const { text, tags } = parsePrompt(flags.prompt);
  const blocks = new Map(
    (flags.blockWeights ?? []).map((given) => {
      const colon = given.indexOf(":");
      if (colon < 1) throw new UsageError(`--block-weights: found ${given}, needed NAME:down=0.5,mid=0.`);
      return [given.slice(0, colon), parseBlocks(given.slice(colon + 1), "--block-weights")] as const;
    }),
  );
  const named = adapterArguments(flags.adapter).map(
    ({ name, path, weight }): NamedAdapter => ({ name, path, weight, blocks: blocks.get(name) ?? {} }),
  );
  const strange = [...blocks.keys()].filter((name) => !named.some((each) => each.name === name));
  if (strange.length > 0) {
    throw new UsageError(
      `--block-weights: no --adapter is called ${strange.join(", ")}. Name one: --adapter NAME=PATH.`,
    );
  }
  return { text, chosen: chooseAdapters(named, tags, (name) => adapterIn(flags.adaptersDir, name)) };
}

/** NAME.safetensors or the folder NAME. */
function adapterIn(folder: string | undefined, name: string): string | null {
  if (folder === undefined || /[\\/\0]|^\.\.?$/.test(name)) return null;
  return [`${name}.safetensors`, name].map((each) => join(folder, each)).find((path) => existsSync(path)) ?? null;
}

/** Reads the chosen adapters; `warn` hears of tensors that match no layer. */
export async function loadAdapters(
  chosen: readonly ChosenAdapter[],
  pipeline: Pipeline,
  warn: (message: string) => void,
): Promise<WeightedAdapter[]> {
  const { readImageLora, unmatchedText } = await import("../diffusion/read-lora.ts");
  return chosen.map(({ name, path, weights }) => {
    const read = readImageLora(path, pipeline);
    const left = unmatchedText(path, read);
    if (left !== null) warn(`Warning: ${left}`);
    return { name, adapter: read.adapter, weights };
  });
}

export interface WantedSize {
  readonly width?: number | null;
  readonly height?: number | null;
}

/** The image to start from, brought to the wanted size. */
export async function readStart(path: string, { width, height }: WantedSize): Promise<RgbImage> {
  const [{ readImageFile }, { coverImage }] = await Promise.all([
    import("../data/image-file.ts"),
    import("../data/resize-image.ts"),
  ]);
  const image = await readImageFile(path);
  return coverImage(image, width ?? image.width, height ?? image.height);
}

/** The tensor `latents` of a safetensors file. */
export async function readLatents(path: string): Promise<Float32Array> {
  const [{ openSafetensors, readTensor }, { toFloat32 }] = await Promise.all([
    import("../files/safetensors.ts"),
    import("../tensor/convert.ts"),
  ]);
  const entry = openSafetensors(path).tensors.get("latents");
  if (!entry) throw new FormatError(`${path}: it has no tensor "latents". Save the noise under that name.`);
  return toFloat32(readTensor(entry));
}
