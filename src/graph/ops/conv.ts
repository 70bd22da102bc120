/**
 * Convolution over images [B, C, H, W], and the two convolutions that are its gradient.
 * Letters: B images, C channels in, O channels out, K × L kernel, P × Q output.
 */

import { apply, demand, type Op, type TensorType, type Value } from "../graph.ts";
import { reduceSum, reshape, zerosOf } from "./broadcast.ts";
import { matMul } from "./matmul.ts";
import { concat, slice, transpose } from "./movement.ts";

export interface ConvOptions {
  /** Step between outputs along both axes; 1 unless given. */
  readonly stride?: number;
  /** Zeros around the image: top, left, bottom, right; none unless given. */
  readonly pads?: Pads;
  /** Distance between the kernel's taps along both axes; 1 unless given. */
  readonly dilation?: number;
}

export type Pads = readonly [top: number, left: number, bottom: number, right: number];

export interface ConvAttributes {
  readonly stride: number;
  readonly pads: Pads;
  readonly dilation: number;
}

export interface TransposeAttributes extends ConvAttributes {
  /** Rows and columns of the result, [H, W]. */
  readonly size: readonly [number, number];
}

const NO_PADS: Pads = [0, 0, 0, 0];

const Conv: Op<ConvAttributes> = {
  type: "Conv",
  infer: ([x, w, bias], { stride, pads, dilation }) => {
    demand(x!.shape.length === 4 && w!.shape.length === 4, "Conv", `[${x!.shape}] with a kernel of [${w!.shape}]`);
    const [B = 0, C = 0, H = 0, W = 0] = x!.shape;
    const [O = 0, inner = 0, K = 0, L = 0] = w!.shape;
    demand(C === inner, "Conv", `[${x!.shape}] with a kernel of [${w!.shape}]`);
    demand(!bias || bias.shape[0] === O, "Conv", `bias [${bias?.shape}] for ${O} channels`);
    const extent = (size: number, before: number, after: number, taps: number): number =>
      Math.floor((size + before + after - dilation * (taps - 1) - 1) / stride) + 1;
    const [P, Q] = [extent(H, pads[0], pads[2], K), extent(W, pads[1], pads[3], L)];
    demand(P > 0 && Q > 0, "Conv", `[${x!.shape}] is smaller than the kernel [${w!.shape}]`);
    return [{ dtype: x!.dtype, shape: [B, O, P, Q] }];
  },
  gradient: ({ dy, x: [x, w, bias], attributes }) => [
    imageGradient(dy, w!, x!, attributes),
    kernelGradient(dy, w!, x!, attributes),
    ...(bias ? [reshape(reduceSum(dy, [0, 2, 3]), bias.shape)] : []),
  ],
};

/** The image whose convolution is x: what Conv's gradient sends back. Not differentiated itself. */
const ConvTranspose: Op<TransposeAttributes> = {
  type: "ConvTranspose",
  infer: ([dy, w], { size }) => {
    demand(dy!.shape[1] === w!.shape[0], "ConvTranspose", `[${dy!.shape}] with a kernel of [${w!.shape}]`);
    return [{ dtype: dy!.dtype, shape: [dy!.shape[0]!, w!.shape[1]!, ...size] }];
  },
};

/** Σ w[o, c, k, l]·x[b, c, stride·p + dilation·k − top, …] + bias[o]: [B, O, P, Q]. w [O, C, K, L], bias [O]. */
export function conv2d(
  x: Value,
  w: Value,
  bias: Value | null = null,
  { stride = 1, pads = NO_PADS, dilation = 1 }: ConvOptions = {},
): Value {
  return apply(Conv, bias ? [x, w, bias] : [x, w], { stride, pads, dilation });
}

function imageGradient(dy: Value, w: Value, x: TensorType, attributes: ConvAttributes): Value {
  const [, , H = 0, W = 0] = x.shape;
  if (!isPointwise(w, attributes)) return apply(ConvTranspose, [dy, w], { ...attributes, size: [H, W] });
  const [O = 0, C = 0] = w.shape;
  const rows = matMul(reshape(w, [O, C]), reshape(dy, [dy.shape[0]!, O, H * W]), { transA: true }); // [B, C, H·W]
  return reshape(rows, x.shape);
}

/** Each tap's gradient is a product of dy and the image as that tap sees it, over all pixels and images. */
function kernelGradient(dy: Value, w: Value, x: Value, attributes: ConvAttributes): Value {
  const [O = 0, C = 0, K = 0, L = 0] = w.shape;
  const [B = 0, , H = 0, W = 0] = x.shape;
  if (isPointwise(w, attributes)) {
    const products = matMul(reshape(dy, [B, O, H * W]), reshape(x, [B, C, H * W]), { transB: true }); // [B, O, C]
    return reshape(reduceSum(products, [0]), w.shape);
  }
  const { stride, pads, dilation } = attributes;
  if (stride === 1 && dilation === 1) {
    // One product of all taps together: a convolution with an image for its kernel would take 10 times as long.
    const [, , P = 0, Q = 0] = dy.shape;
    const around = padded(x, pads);
    const views = Array.from({ length: K * L }, (_, tap) => {
      const [k, l] = [Math.floor(tap / L), tap % L];
      return reshape(slice(slice(around, 2, k, k + P), 3, l, l + Q), [B, C, P * Q]);
    });
    const products = matMul(reshape(dy, [B, O, P * Q]), concat(views, 1), { transB: true }); // [B, O, K·L·C]
    return transpose(reshape(reduceSum(products, [0]), [O, K, L, C]), [0, 3, 1, 2]);
  }
  const swap = [1, 0, 2, 3];
  const taps = conv2d(transpose(x, swap), transpose(dy, swap), null, { stride: dilation, pads, dilation: stride });
  return transpose(slice(slice(taps, 2, 0, K), 3, 0, L), swap); // a stride may leave taps beyond the kernel
}

/** Zeros around the image. */
function padded(x: Value, [top, left, bottom, right]: Pads): Value {
  const along = (y: Value, axis: number, before: number, after: number): Value => {
    const zeros = (extent: number): Value[] => (extent === 0 ? [] : [zerosOf(y.shape.with(axis, extent), y.dtype)]);
    return concat([...zeros(before), y, ...zeros(after)], axis);
  };
  return along(along(x, 2, top, bottom), 3, left, right);
}

function isPointwise({ shape: [, , K, L] }: TensorType, { stride, pads }: ConvAttributes): boolean {
  return K === 1 && L === 1 && stride === 1 && pads.every((each) => each === 0);
}
