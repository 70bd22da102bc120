/**
 * A layer's tensors of a LoRA file as one branch. What is no product of two matrices (LyCORIS' LoHa and LoKr, DoRA, whole
 * differences) is computed once and stands as a branch whose one half is the identity, which is exact.
 * Sources: LyCORIS `functional/`; Yeh et al. 2023 (arXiv:2309.14859); Liu et al. 2024 (DoRA).
 * Letters: O outputs, I inputs, K kernel elements; ΔW is [O, I·K].
 */

import { sizeOf } from "../tensor/shape.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import type { ImageBranch } from "./adapter.ts";
import type { Part } from "./lora-keys.ts";

export type Parts = ReadonlyMap<Part, FloatTensor>;

export interface LayerShape {
  readonly out: number;
  /** [I], or [I, kernel, kernel]. */
  readonly input: readonly number[];
}

export type UpdateKind = "lora" | "locon" | "loha" | "lokr" | "dora" | "full";

export interface LayerUpdate {
  readonly branch: ImageBranch;
  readonly kind: UpdateKind;
  /** As the file says it; null where it has none. */
  readonly rank: number | null;
}

/** A file's α by a layer's rank, where it stands in the header instead of a tensor. */
export type HeaderScale = (rank: number) => number;

/**
 * The update of one layer. `base` reads the layer's own weight, for DoRA. Throws RangeError saying why the parts make no
 * update; sizes are checked against the layer's by the caller.
 */
export function layerUpdate(
  parts: Parts,
  shape: LayerShape,
  header: HeaderScale,
  base: () => Float32Array,
): LayerUpdate {
  if (parts.has("diff_b")) throw new RangeError("diff_b changes a bias, which is not read");
  const plain = plainUpdate(parts, shape, header);
  const magnitude = parts.get("magnitude");
  if (!magnitude) return plain;
  const delta = decomposed(productOf(plain.branch), base(), magnitude, shape);
  return { branch: wholeBranch(delta, shape), kind: "dora", rank: plain.rank };
}

function plainUpdate(parts: Parts, shape: LayerShape, header: HeaderScale): LayerUpdate {
  const alpha = parts.get("alpha")?.data[0];
  /** A missing α, and one of 0, mean a scale of 1. */
  const scaleOf = (rank: number): number => (alpha ? alpha / rank : header(rank));
  const [down, up] = [parts.get("down"), parts.get("up")];
  if (down || up) {
    if (!down || !up) throw new RangeError(`has only its ${down ? "down" : "up"} half`);
    const rank = down.shape[0]!;
    const mid = parts.get("mid");
    const branch = { A: mid ? throughMid(down, mid) : down, B: up, scale: scaleOf(rank) };
    return { branch, kind: shape.input.length > 1 && shape.input[1] !== 1 ? "locon" : "lora", rank };
  }
  const diff = parts.get("diff");
  if (diff) return { branch: wholeBranch(diff.data, shape), kind: "full", rank: null };
  if (parts.has("hada_w1_a")) return hadamard(parts, shape, scaleOf);
  if ([...parts.keys()].some((part) => part.startsWith("lokr"))) return kronecker(parts, shape, scaleOf);
  throw new RangeError(`has only ${[...parts.keys()].join(", ")}`);
}

/** A [r, I] and the kernel between [r₂, r, k, k] as one kernel [r₂, I, k, k]. */
function throughMid(down: FloatTensor, mid: FloatTensor): FloatTensor {
  const r = down.shape[0]!;
  const width = sizeOf(down.shape) / r;
  const [rows = 0, inner = 0, ...kernel] = mid.shape;
  if (inner !== r) throw new RangeError(`lora_mid is [${mid.shape}], needed [r, ${r}, k, k]`);
  const taps = sizeOf(kernel);
  const result = floatTensor([rows, width, ...kernel]);
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < r; k++) {
      for (let j = 0; j < width; j++) {
        const factor = down.data[k * width + j]!;
        for (let t = 0; t < taps; t++) {
          result.data[(i * width + j) * taps + t]! += factor * mid.data[(i * r + k) * taps + t]!;
        }
      }
    }
  }
  return result;
}

function hadamard(parts: Parts, shape: LayerShape, scaleOf: (rank: number) => number): LayerUpdate {
  const half = (n: 1 | 2): { values: Float32Array; rank: number } => {
    const [a, b] = [need(parts, `hada_w${n}_a`), need(parts, `hada_w${n}_b`)];
    const core = parts.get(`hada_t${n}`);
    return { values: core ? tucker(core, a, b) : product(a, b), rank: b.shape[0]! };
  };
  const [one, two] = [half(1), half(2)];
  if (one.values.length !== two.values.length) throw new RangeError("its two factors differ in size");
  const scale = scaleOf(one.rank);
  const delta = one.values.map((value, i) => value * two.values[i]! * scale);
  return { branch: wholeBranch(delta, shape), kind: "loha", rank: one.rank };
}

function kronecker(parts: Parts, shape: LayerShape, scaleOf: (rank: number) => number): LayerUpdate {
  let rank: number | null = null;
  const factor = (n: 1 | 2): FloatTensor => {
    const whole = parts.get(`lokr_w${n}`);
    if (whole) return whole;
    const [a, b] = [need(parts, `lokr_w${n}_a`), need(parts, `lokr_w${n}_b`)];
    const core = parts.get(`lokr_t${n}`);
    rank = b.shape[0]!;
    if (core) {
      const [, , ...kernel] = core.shape;
      return floatTensor([a.shape[1]!, b.shape[1]!, ...kernel], tucker(core, a, b));
    }
    const taps = b.shape.slice(2);
    return floatTensor([a.shape[0]!, sizeOf(b.shape.slice(1)) / sizeOf(taps), ...taps], product(a, b));
  };
  const [C, D] = [factor(1), factor(2)];
  // Both factors whole: there is no rank that α could be a share of.
  const scale = rank === null ? 1 : scaleOf(rank);
  const [a = 0, c = 0] = C.shape;
  const [b = 0, d = 0, ...kernel] = D.shape;
  const taps = sizeOf(kernel);
  const width = c * d * taps;
  const delta = new Float32Array(a * b * width);
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < c; j++) {
      const outer = scale * C.data[i * c + j]!;
      for (let k = 0; k < b; k++) {
        const from = k * d * taps;
        const to = (i * b + k) * width + j * d * taps;
        for (let l = 0; l < d * taps; l++) delta[to + l] = outer * D.data[from + l]!;
      }
    }
  }
  return { branch: wholeBranch(delta, shape), kind: "lokr", rank };
}

/** Σ core[i, j, …]·a[i, p]·b[j, r] as [p, r, …]. */
function tucker(core: FloatTensor, a: FloatTensor, b: FloatTensor): Float32Array {
  const [I = 0, J = 0, ...kernel] = core.shape;
  const taps = sizeOf(kernel);
  const [P, R] = [a.shape[1]!, b.shape[1]!];
  if (a.shape[0] !== I || b.shape[0] !== J)
    throw new RangeError(`its core is [${core.shape}], with [${a.shape}] and [${b.shape}]`);
  const result = new Float32Array(P * R * taps);
  for (let i = 0; i < I; i++) {
    for (let j = 0; j < J; j++) {
      for (let p = 0; p < P; p++) {
        for (let r = 0; r < R; r++) {
          const factor = a.data[i * P + p]! * b.data[j * R + r]!;
          for (let t = 0; t < taps; t++) result[(p * R + r) * taps + t]! += factor * core.data[(i * J + j) * taps + t]!;
        }
      }
    }
  }
  return result;
}

/** a [p, k] · b [k, …]. */
function product(a: FloatTensor, b: FloatTensor): Float32Array {
  const k = b.shape[0]!;
  const rows = a.data.length / k;
  const columns = b.data.length / k;
  if (!Number.isInteger(rows) || a.shape[1] !== k)
    throw new RangeError(`[${a.shape}] and [${b.shape}] have no product`);
  const result = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let l = 0; l < k; l++) {
      const factor = a.data[i * k + l]!;
      for (let j = 0; j < columns; j++) result[i * columns + j]! += factor * b.data[l * columns + j]!;
    }
  }
  return result;
}

/** scale · B · A of a branch, as [O, I·K]. */
export function productOf({ A, B, scale }: ImageBranch): Float32Array {
  const r = A.shape[0]!;
  const flat = (tensor: FloatTensor, rows: number): FloatTensor =>
    floatTensor([rows, sizeOf(tensor.shape) / rows], tensor.data);
  return product(flat(B, B.shape[0]!), flat(A, r)).map((value) => value * scale);
}

/** ΔW as a branch: as it is beside the identity, on the side where that is smaller. */
export function wholeBranch(delta: Float32Array, { out, input }: LayerShape): ImageBranch {
  if (delta.length !== out * sizeOf(input)) {
    throw new RangeError(`its update has ${delta.length} elements, needed [${out}, ${input}]`);
  }
  const pixels = input.slice(1).map(() => 1);
  const [width] = input as [number];
  if (sizeOf(input) === width && width < out) {
    return { A: identity([width, ...input]), B: floatTensor([out, width, ...pixels], delta), scale: 1 };
  }
  return { A: floatTensor([out, ...input], delta), B: identity([out, out, ...pixels]), scale: 1 };
}

function identity(shape: readonly number[]): FloatTensor {
  const tensor = floatTensor(shape);
  for (let i = 0; i < shape[0]!; i++) tensor.data[i * (sizeOf(shape) / shape[0]!) + i] = 1;
  return tensor;
}

/** m·(W + ΔW) / ‖W + ΔW‖ − W: norms by output where m has one number an output, else by input. */
function decomposed(
  delta: Float32Array,
  base: Float32Array,
  magnitude: FloatTensor,
  { out, input }: LayerShape,
): Float32Array {
  const [width, taps] = [input[0]!, sizeOf(input.slice(1))];
  const byOutput = magnitude.data.length === out && (magnitude.shape[0] === out || magnitude.data.length !== width);
  if (magnitude.data.length !== (byOutput ? out : width)) {
    throw new RangeError(`its magnitudes are [${magnitude.shape}], needed ${out} of outputs or ${width} of inputs`);
  }
  const of = (i: number): number => (byOutput ? Math.floor(i / (width * taps)) : Math.floor(i / taps) % width);
  const squares = new Float64Array(magnitude.data.length);
  base.forEach((value, i) => {
    squares[of(i)]! += (value + delta[i]!) ** 2;
  });
  return base.map((value, i) => ((value + delta[i]!) * magnitude.data[of(i)]!) / Math.sqrt(squares[of(i)]!) - value);
}

function need(parts: Parts, part: Part): FloatTensor {
  const found = parts.get(part);
  if (found) return found;
  throw new RangeError(`lacks ${part}`);
}
