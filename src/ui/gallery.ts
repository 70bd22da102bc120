/** The pictures that the page made, in a folder; what made each stands in its file. */

import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { ImageFacts } from "../diffusion/image-facts.ts";
import { writeFileAtomic } from "../files/atomic.ts";
import { isPng, pngTexts } from "../files/png.ts";

/** What is shown of a picture's settings. */
export type ShownFacts = Pick<
  ImageFacts,
  "model" | "prompt" | "negativePrompt" | "steps" | "guidance" | "seed" | "width" | "height" | "adapters"
>;

const shownFacts: z.ZodType<ShownFacts> = z.object({
  model: z.string(),
  prompt: z.string(),
  negativePrompt: z.string().nullable(),
  steps: z.number(),
  guidance: z.number(),
  seed: z.number(),
  width: z.number(),
  height: z.number(),
  adapters: z.array(z.object({ name: z.string(), unet: z.number(), text: z.number() })),
});

export interface GalleryPicture {
  /** File name. */
  readonly name: string;
  /** Null for pictures that do not tell. */
  readonly facts: ShownFacts | null;
}

export interface Gallery {
  /** The newest, newest first. */
  list(): GalleryPicture[];
  /** The bytes of a picture of the list; null for any other name. */
  read(name: string): Uint8Array<ArrayBuffer> | null;
  /** Returns its name. */
  add(png: Uint8Array, seed: number): string;
}

/** Pictures shown. */
const MOST = 120;
/** Bytes of a file in which its texts are looked for: they stand before the pixels. */
const HEAD = 2 ** 16;
/** Bytes of a file that is sent. */
const LARGEST = 2 ** 26;

export function pictureFolder(folder: string): Gallery {
  const known = new Map<string, GalleryPicture>();
  const names = (): string[] =>
    existsSync(folder)
      ? readdirSync(folder, { withFileTypes: true })
          .filter((entry) => entry.isFile() && /^[^.].*\.png$/i.test(entry.name))
          .map(({ name }) => name)
          .toSorted((a, b) => (a < b ? 1 : -1))
          .slice(0, MOST)
      : [];
  return {
    list: () =>
      names().map((name) => {
        const picture = known.get(name) ?? { name, facts: factsOf(join(folder, name)) };
        known.set(name, picture);
        return picture;
      }),
    read: (name) => {
      if (!names().includes(name) || statSync(join(folder, name)).size > LARGEST) return null;
      const bytes = Uint8Array.from(readFileSync(join(folder, name)));
      return isPng(bytes) ? bytes : null;
    },
    add: (png, seed) => {
      mkdirSync(folder, { recursive: true });
      // 20260131-235959-000: names sort as their times do.
      const stamp = new Date().toISOString().replace(/[-:Z]/g, "").replace("T", "-").replace(".", "-");
      const name = `${stamp}-seed-${seed}.png`;
      writeFileAtomic(join(folder, name), png);
      return name;
    },
  };
}

function factsOf(path: string): ShownFacts | null {
  try {
    const bytes = headOf(path);
    if (!isPng(bytes)) return null;
    const parsed = shownFacts.safeParse(JSON.parse(pngTexts(bytes).get("lowrank") ?? "null"));
    return parsed.success ? parsed.data : null;
  } catch {
    return null; // a file that was changed, cut or is gone: it is shown without its settings
  }
}

function headOf(path: string): Uint8Array {
  const file = openSync(path, "r");
  try {
    const head = new Uint8Array(HEAD);
    return head.subarray(0, readSync(file, head, 0, HEAD, 0));
  } finally {
    closeSync(file);
  }
}
