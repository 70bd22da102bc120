/**
 * Folders of images with captions: a text file of the image's name beside it (`.txt`, `.caption`), or the lines of
 * metadata.jsonl ({"file_name", "text"}, Hugging Face's imagefolder). Folders within count too; one called `10_NAME`
 * repeats its images ten times, as kohya's trainer reads it.
 */

import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, extname, join, relative } from "node:path";
import { DataError, messageOf } from "../errors.ts";
import { ioError } from "../files/io-error.ts";
import { readTextFile } from "../files/text-file.ts";

export interface ImageItem {
  readonly path: string;
  /** Empty where the image has none. */
  readonly caption: string;
  /** How often it stands in an epoch. */
  readonly repeats: number;
  /** NAME of the folder `10_NAME` around it. */
  readonly label: string | null;
}

const IMAGE_FILES = /\.(png|jpe?g|webp|avif|gif|tiff?)$/i;
const METADATA = "metadata.jsonl";
const CAPTIONS = [".txt", ".caption"] as const;
const REPEATED = /^(\d+)_(.+)$/;
const LISTED = 10;

/** Throws DataError listing every problem: no images, captions without image, lines of metadata that fit none. */
export function readImageFolder(folder: string): readonly ImageItem[] {
  const files = listFiles(folder);
  const images = files.filter((path) => IMAGE_FILES.test(path));
  const problems: string[] = [];
  const captions = readMetadata(folder, new Set(images), problems);
  const stems = new Set(images.map(stemOf));
  for (const path of files) {
    const extension = extname(path).toLowerCase();
    if (extension === ".caption" && !stems.has(stemOf(path))) {
      problems.push(`${relative(folder, path)}: a caption without an image`);
    } else if (extension === ".txt" && !stems.has(stemOf(path)) && !/^(readme|licen[cs]e)/i.test(basename(path))) {
      problems.push(`${relative(folder, path)}: a caption without an image`);
    }
  }
  if (images.length === 0) {
    throw new DataError(
      `${folder}: no images. Needed .png, .jpg or .webp files, each with a caption of its name (cat.png, cat.txt) or in ${METADATA}.`,
    );
  }
  const items = images.map((path): ImageItem => {
    const repeated = REPEATED.exec(basename(dirname(path)));
    return {
      path,
      caption: captions.get(path) ?? captionBeside(path) ?? "",
      repeats: repeated ? Number(repeated[1]) : 1,
      label: repeated ? repeated[2]! : null,
    };
  });
  if (problems.length === 0) return items.filter(({ repeats }) => repeats > 0);
  throw new DataError(
    `${folder}:\n${problems
      .slice(0, LISTED)
      .map((each) => `  ${each}`)
      .join(
        "\n",
      )}${problems.length > LISTED ? `\n  and ${problems.length - LISTED} more` : ""}\nAdd the images, or remove these.`,
  );
}

/** How many images a folder holds. */
export function countImages(folder: string): number {
  return listFiles(folder).filter((path) => IMAGE_FILES.test(path)).length;
}

/** Every file below, in the order of their names. */
function listFiles(folder: string): string[] {
  let entries: ReturnType<typeof namesOf>;
  try {
    entries = namesOf(folder);
  } catch (error) {
    throw ioError("read", folder, error);
  }
  return entries.flatMap((name) => {
    const path = join(folder, name);
    if (name.startsWith(".")) return [];
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ? listFiles(path) : [path];
  });
}

function namesOf(folder: string): string[] {
  return readdirSync(folder).toSorted((a, b) => (a < b ? -1 : 1));
}

function stemOf(path: string): string {
  return path.slice(0, path.length - extname(path).length);
}

/** The file's lines as one caption. */
function captionBeside(path: string): string | null {
  for (const extension of CAPTIONS) {
    const file = stemOf(path) + extension;
    if (existsSync(file))
      return readTextFile(file)
        .trim()
        .replace(/\s*\r?\n\s*/g, " ");
  }
  return null;
}

function readMetadata(folder: string, images: ReadonlySet<string>, problems: string[]): Map<string, string> {
  const path = join(folder, METADATA);
  const captions = new Map<string, string>();
  if (!existsSync(path)) return captions;
  readTextFile(path)
    .split(/\r?\n/)
    .forEach((line, i) => {
      if (line.trim() === "") return;
      const where = `${METADATA}:${i + 1}`;
      let row: Readonly<Record<string, unknown>>;
      try {
        row = JSON.parse(line) as Readonly<Record<string, unknown>>;
      } catch (error) {
        problems.push(`${where}: ${messageOf(error)}`);
        return;
      }
      const [name, text] = [row["file_name"], row["text"] ?? row["caption"] ?? row["prompt"]];
      if (typeof name !== "string") problems.push(`${where}: file_name is missing`);
      else if (!images.has(join(folder, name))) problems.push(`${where}: a caption without an image (${name})`);
      else if (typeof text !== "string") problems.push(`${where}: text is missing`);
      else captions.set(join(folder, name), text.trim());
    });
  return captions;
}
