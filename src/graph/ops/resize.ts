/** Nearest-neighbour resizing of images [B, C, H, W], as PyTorch's `interpolate(mode="nearest")`. */

import { apply, constant, demand, type Op, type Value } from "../graph.ts";
import { scale } from "./arithmetic.ts";
import { matMul } from "./matmul.ts";

export interface ResizeAttributes {
  /** Rows and columns of the result. */
  readonly size: readonly [number, number];
}

const Resize: Op<ResizeAttributes> = {
  type: "Resize",
  infer: ([x], { size }) => {
    demand(x!.shape.length === 4 && size.every((extent) => extent > 0), "Resize", `[${x!.shape}] to [${size}]`);
    return [{ dtype: x!.dtype, shape: [...x!.shape.slice(0, 2), ...size] }];
  },
  // Each pixel gets the sum of its copies: an average where all have as many, else by 0/1 matrices.
  gradient: ({ dy, x: [x], attributes: { size } }) => {
    const [, , H = 0, W = 0] = x!.shape;
    const factor = size[0] / H;
    if (Number.isInteger(factor) && size[1] === W * factor) return [scale(averagePool(dy, factor), factor * factor)];
    return [matMul(matMul(copies(H, size[0]), dy, { transA: true }), copies(W, size[1]))];
  },
};

const AveragePool: Op<{ readonly window: number }> = {
  type: "AveragePool",
  infer: ([x], { window }) => {
    const [, , H = 0, W = 0] = x!.shape;
    demand(H % window === 0 && W % window === 0, "AveragePool", `[${x!.shape}] by windows of ${window}`);
    return [{ dtype: x!.dtype, shape: [...x!.shape.slice(0, 2), H / window, W / window] }];
  },
};

/** Pixel ⌊p·H / size⌋ at each p, along both axes. */
export function resizeNearest(x: Value, size: readonly [number, number]): Value {
  return x.shape[2] === size[0] && x.shape[3] === size[1] ? x : apply(Resize, [x], { size });
}

/** Means of windows that do not overlap; not differentiable. */
export function averagePool(x: Value, window: number): Value {
  return apply(AveragePool, [x], { window });
}

/** The matrix [to, from] with a 1 where output p takes input ⌊p·from / to⌋. */
function copies(from: number, to: number): Value {
  const data = new Float32Array(to * from);
  for (let p = 0; p < to; p++) data[p * from + Math.floor((p * from) / to)] = 1;
  return constant({ dtype: "f32", shape: [to, from], data });
}
