/** Resizing pictures by Lanczos's filter of three lobes, widened where it shrinks them, as Pillow does. */

import type { RgbImage } from "../files/png.ts";

const LOBES = 3;

/** The whole picture at another size. */
export function resizeImage(image: RgbImage, width: number, height: number): RgbImage {
  const wide = image.width === width ? image : along(image, width, true);
  return wide.height === height ? wide : along(wide, height, false);
}

/** The largest middle part of the picture with the shape of `width` × `height`, at that size. */
export function coverImage(image: RgbImage, width: number, height: number): RgbImage {
  const scale = Math.min(image.width / width, image.height / height);
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  return resizeImage(cropImage(image, (image.width - w) >> 1, (image.height - h) >> 1, w, h), width, height);
}

export function cropImage(image: RgbImage, left: number, top: number, width: number, height: number): RgbImage {
  const data = new Uint8Array(3 * width * height);
  for (let row = 0; row < height; row++) {
    const from = 3 * ((row + top) * image.width + left);
    data.set(image.data.subarray(from, from + 3 * width), 3 * row * width);
  }
  return { width, height, data };
}

/** One axis to another extent; the other stays. */
function along({ width, height, data }: RgbImage, extent: number, horizontal: boolean): RgbImage {
  const [from, lines] = horizontal ? [width, height] : [height, width];
  const size = horizontal ? { width: extent, height } : { width, height: extent };
  const [step, line] = horizontal ? [3, 3 * width] : [3 * width, 3];
  const [outStep, outLine] = horizontal ? [3, 3 * extent] : [3 * width, 3];
  const out = new Uint8Array(3 * size.width * size.height);
  for (const [to, { first, weights }] of filters(from, extent).entries()) {
    for (let i = 0; i < lines; i++) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (const [k, weight] of weights.entries()) sum += weight * data[i * line + (first + k) * step + c]!;
        out[i * outLine + to * outStep + c] = Math.min(255, Math.max(0, Math.round(sum)));
      }
    }
  }
  return { ...size, data: out };
}

/** For each output pixel the input pixels that it is made of, and their weights, which sum to 1. */
function filters(from: number, to: number): { first: number; weights: number[] }[] {
  const scale = from / to;
  const stretch = Math.max(1, scale);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - LOBES * stretch + 0.5));
    const last = Math.min(from, Math.floor(centre + LOBES * stretch + 0.5));
    const raw = Array.from({ length: last - first }, (_, k) => lanczos((first + k + 0.5 - centre) / stretch));
    const sum = raw.reduce((a, b) => a + b);
    return { first, weights: raw.map((weight) => weight / sum) };
  });
}

function lanczos(x: number): number {
  if (x === 0) return 1;
  if (Math.abs(x) >= LOBES) return 0;
  const angle = Math.PI * x;
  return (LOBES * Math.sin(angle) * Math.sin(angle / LOBES)) / angle ** 2;
}
