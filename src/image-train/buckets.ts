/** Sizes that images are trained at. Source of the rule: kohya's sd-scripts, `library/model_util.py`. */

import { UsageError } from "../errors.ts";

export type Size = readonly [width: number, height: number];

/** Sizes of at most the area of `resolution`², sides in steps of `step`, from half of it to twice. */
export function bucketSizes(resolution: number, step: number): readonly Size[] {
  const area = resolution * resolution;
  const sizes = new Map<string, Size>();
  const add = (width: number, height: number): void => {
    sizes.set(`${width} ${height}`, [width, height]);
  };
  const square = Math.floor(resolution / step) * step;
  if (square > 0) add(square, square);
  for (let width = Math.ceil(resolution / 2 / step) * step; width <= 2 * resolution; width += step) {
    const height = Math.min(2 * resolution, Math.floor(area / width / step) * step);
    if (width === 0 || height < resolution / 2) continue;
    add(width, height);
    add(height, width);
  }
  return [...sizes.values()].toSorted(([a, b], [c, d]) => a - c || b - d);
}

/** The bucket whose shape is nearest to the image's. */
export function bucketOf([width, height]: Size, buckets: readonly Size[]): Size {
  const shape = width / height;
  const away = ([w, h]: Size): number => Math.abs(w / h - shape);
  return buckets.reduce((best, each) => (away(each) < away(best) ? each : best));
}

/** Throws UsageError when a side is no multiple of what the pipeline needs. */
export function checkSide(side: number, multiple: number, flag: string): void {
  if (side % multiple === 0) return;
  const below = Math.max(multiple, Math.floor(side / multiple) * multiple);
  throw new UsageError(
    `${flag} ${side}: the model needs a multiple of ${multiple}. Use ${below} or ${below + multiple}.`,
  );
}
