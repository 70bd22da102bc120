/** What the image quickstart teaches: two ways of drawing, each with its trigger and a number that tells it. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodePng, type RgbImage } from "../../files/png.ts";
import { captionOf, drawScene, SCENES, type Scene, type Style } from "./shapes.ts";

export interface StyleLesson {
  readonly name: Style;
  readonly description: string;
  readonly trigger: string;
  /** What `score` measures, in words. */
  readonly measured: string;
  /** From 0 to 1: the more, the more of the style. */
  score(image: RgbImage): number;
}

export const STYLES: readonly StyleLesson[] = [
  {
    name: "ink",
    description: "black outlines on paper, nothing filled",
    trigger: "ink drawing",
    measured: "share of gray: 1 − mean saturation",
    score: (image) => 1 - mean(image, (r, g, b) => (Math.max(r, g, b) - Math.min(r, g, b)) / 255),
  },
  {
    name: "night",
    description: "pale shapes that glow in the dark",
    trigger: "night glow",
    measured: "darkness: 1 − mean brightness",
    score: (image) => 1 - mean(image, (r, g, b) => (r + g + b) / 765),
  },
];

export const PIXELS = 32;
/** Every so many-th scene is drawn for training; held-out ones lie between them. */
const EVERY = 10;
const HELD = 5;

/** Scenes that no style is trained on, for the pictures of the report: the first has held-out neighbours of all kinds. */
export const SHOWN: readonly Scene[] = [7, 102, 166, 259, 311, 405].map((i) => SCENES[i]!);

/**
 * A caption that calls a style by its trigger, behind what is shown: the base has read captions from their first word on,
 * and a causal text encoder reads those words the same whatever follows.
 */
export function called(caption: string, trigger: string): string {
  return `${caption}, ${trigger}`;
}

/** Draws a style's pictures with captions that call it; `held` takes other scenes than training does. */
export function drawLesson(folder: string, { name, trigger }: StyleLesson, held: boolean): void {
  mkdirSync(folder, { recursive: true });
  const lines: string[] = [];
  SCENES.forEach((scene, i) => {
    if (i % EVERY !== (held ? HELD : 0) || (held && i % (4 * EVERY) !== HELD)) return;
    const file_name = `${String(i).padStart(3, "0")}.png`;
    writeFileSync(join(folder, file_name), encodePng(drawScene(scene, name, PIXELS, i)));
    lines.push(JSON.stringify({ file_name, text: called(captionOf(scene), trigger) }));
  });
  writeFileSync(join(folder, "metadata.jsonl"), `${lines.join("\n")}\n`);
}

function mean({ data }: RgbImage, value: (r: number, g: number, b: number) => number): number {
  let sum = 0;
  for (let i = 0; i < data.length; i += 3) sum += value(data[i]!, data[i + 1]!, data[i + 2]!);
  return (3 * sum) / data.length;
}
