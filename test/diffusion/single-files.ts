/** The tiny pipelines as single-file checkpoints. make_single_files.py made single-files.json.gz, and checked its names. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { readOwn } from "../../src/diffusion/component.ts";
import { componentsOf, openPipeline } from "../../src/diffusion/pipeline.ts";
import { type WritableTensor, writeSafetensors } from "../../src/files/safetensors.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";

type Place = string | { readonly joined: readonly string[] } | { readonly turned: string };
const at = (name: string): string => join(import.meta.dirname, name);
const NAMES = JSON.parse(gunzipSync(readFileSync(at("single-files.json.gz"))).toString()) as Record<
  string,
  Record<string, Place>
>;
export const FOLDERS = { sd1: "pipelines/sd1", sd2: "cases/sd2", xl: "pipelines/xl" } as const;

/** The pipeline's tensors under the names of the first layout, as one file. */
export function singleFile(family: keyof typeof FOLDERS, folder: string): string {
  const components = componentsOf(openPipeline(at(FOLDERS[family])));
  const read = (place: string): WritableTensor => {
    const [component = "", own = ""] = place.split("/");
    const found = components.get(component)!;
    const tensor = [own, `text_model.${own}`].find((each) => found.trace.tensors.has(each))!;
    return readOwn(found, tensor);
  };
  const tensors = Object.entries(NAMES[family]!).map(([key, place]): [string, WritableTensor] => {
    if (typeof place === "string") return [key, read(place)];
    if ("joined" in place) {
      const parts = place.joined.map(read);
      const [rows = 0, ...rest] = parts[0]!.shape;
      const data = Float32Array.from(parts.flatMap((part) => Array.from(part.data as Float32Array)));
      return [key, floatTensor([3 * rows, ...rest], data)];
    }
    const { shape, data } = read(place.turned);
    const [rows = 0, columns = 0] = shape;
    const turned = Float32Array.from(
      { length: rows * columns },
      (_, i) => (data as Float32Array)[(i % rows) * columns + Math.floor(i / rows)]!,
    );
    return [key, floatTensor([columns, rows], turned)];
  });
  const path = join(folder, `${family}.safetensors`);
  writeSafetensors(path, tensors);
  return path;
}
