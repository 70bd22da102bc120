/**
 * Float matrices in four bits, in blocks along a row (an output's weights), each block with a scale.
 * - "int4": w ≈ (code − 8) · scale + middle: sixteen even steps, placed where they fit the block best, as in GGUF's Q4_1.
 * - "nf4": w ≈ value[code] · scale, the sixteen quantiles of a normal distribution, scale the block's largest magnitude
 *   (Dettmers et al. 2023, "QLoRA", section 3; values and rounding of bitsandbytes' `kQuantizeBlockwise`).
 */

export const QUANT_TYPES = ["int4", "nf4"] as const;

export type QuantType = (typeof QUANT_TYPES)[number];

/** Most weights that share a scale: of bitsandbytes for nf4; smaller for even steps, which need it. */
export const BLOCK: Readonly<Record<QuantType, number>> = { int4: 32, nf4: 64 };
/** What the kernels need at least. */
const SMALLEST_BLOCK = 16;

/** bitsandbytes' NF4 values in order. */
export const NORMAL_FLOATS: Float32Array = Float32Array.of(
  -1.0,
  -0.6961928009986877,
  -0.5250730514526367,
  -0.39491748809814453,
  -0.28444138169288635,
  -0.18477343022823334,
  -0.09105003625154495,
  0.0,
  0.07958029955625534,
  0.16093020141124725,
  0.24611230194568634,
  0.33791524171829224,
  0.44070982933044434,
  0.5626170039176941,
  0.7229568362236023,
  1.0,
);

export interface Blocks {
  /** Two codes a byte, row after row: for int4 the earlier one in the low half, for nf4 (as bitsandbytes) in the high. */
  readonly codes: Uint8Array;
  /** One a block. */
  readonly scales: Float32Array;
  /** One a block: what code 8 stands for; empty for nf4, whose middle is zero. */
  readonly middles: Float32Array;
}

export interface BlockFormat {
  readonly type: QuantType;
  readonly block: number;
}

/** The format for rows of this width: blocks of the type's size, or of the largest power of two that fills rows; null when none does. */
export function blockFormat(type: QuantType, columns: number): BlockFormat | null {
  for (let block = BLOCK[type]; block >= SMALLEST_BLOCK; block /= 2) if (columns % block === 0) return { type, block };
  return null;
}

/** Quantises values whose number is a multiple of the block. */
export function quantiseBlocks(values: Float32Array, { type, block }: BlockFormat): Blocks {
  const count = values.length / block;
  const codes = new Uint8Array(values.length / 2);
  const scales = new Float32Array(count);
  const middles = new Float32Array(type === "int4" ? count : 0);
  const quantise = type === "int4" ? evenSteps : normalFloats;
  for (let i = 0; i < count; i++) quantise(values, i, block, { codes, scales, middles });
  return { codes, scales, middles };
}

/** The float values of blocks. */
export function dequantiseBlocks({ codes, scales, middles }: Blocks, { type, block }: BlockFormat): Float32Array {
  const values = new Float32Array(2 * codes.length);
  for (let i = 0; i < values.length; i++) {
    const byte = codes[i >> 1]!;
    const at = Math.floor(i / block);
    if (type === "int4") values[i] = ((i & 1 ? byte >> 4 : byte & 15) - 8) * scales[at]! + middles[at]!;
    else values[i] = NORMAL_FLOATS[i & 1 ? byte & 15 : byte >> 4]! * scales[at]!;
  }
  return values;
}

/** Shares of the block's range that the steps are tried at: cutting off extremes makes all steps finer. */
const RANGES = [1, 0.95, 0.9, 0.85, 0.8] as const;

/**
 * Codes of steps over each range, with the scale and middle that fit them best (least squares); the best range is kept.
 * Numbers that lie on at most sixteen even steps already (a base that GGUF's four bits were expanded to) are held exactly.
 */
function evenSteps(values: Float32Array, at: number, block: number, into: Blocks): void {
  const from = at * block;
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let i = from; i < from + block; i++) {
    least = Math.min(least, values[i]!);
    most = Math.max(most, values[i]!);
  }
  const width = most - least;
  if (!(width > 0)) {
    into.codes.fill(0x88, from / 2, (from + block) / 2);
    into.middles[at] = least;
    return;
  }
  const own = values.subarray(from, from + block);
  const steps = stepsAcross(own, least, most);
  if (steps !== null) {
    fitSteps(own, least, width / steps, at, Number.POSITIVE_INFINITY, into);
    return;
  }
  let best = Number.POSITIVE_INFINITY;
  for (const range of RANGES) {
    best = fitSteps(own, least + (width * (1 - range)) / 2, (width * range) / 15, at, best, into);
  }
}

/** Writes the block's codes of steps from `first` on when their squared error is below `best`; the smaller error. */
function fitSteps(
  values: Float32Array,
  first: number,
  step: number,
  at: number,
  best: number,
  { codes, scales, middles }: Blocks,
): number {
  const inverse = 1 / step;
  let [sumCode, sumValue, squares, products] = [0, 0, 0, 0];
  for (const value of values) {
    const code = level(value, first, inverse);
    sumCode += code;
    sumValue += value;
    squares += code * code;
    products += code * value;
  }
  const spread = squares - (sumCode * sumCode) / values.length;
  const scale = Math.fround((products - (sumCode * sumValue) / values.length) / spread);
  const middle = Math.fround((sumValue - scale * sumCode) / values.length);
  let error = 0;
  for (const value of values) error += (level(value, first, inverse) * scale + middle - value) ** 2;
  if (!(error < best)) return best;
  scales[at] = scale;
  middles[at] = middle;
  const to = (at * values.length) / 2;
  for (let i = 0; i < values.length; i += 2) {
    const [low, high] = [level(values[i]!, first, inverse) + 8, level(values[i + 1]!, first, inverse) + 8];
    codes[to + (i >> 1)] = low | (high << 4);
  }
  return error;
}

/** How far a product and a sum in float32 are off at most, relative to the largest number. */
const ROUNDING = 2 ** -21;

/** How many even steps, at most 15, lead from the least number to the most by way of all others; null when none do. */
function stepsAcross(values: Float32Array, least: number, most: number): number | null {
  const rounding = ROUNDING * Math.max(Math.abs(least), Math.abs(most));
  for (let steps = 15; steps > 0; steps--) {
    const step = (most - least) / steps;
    if (rounding > step / 64) continue; // so close that any number would do
    if (values.every((value) => Math.abs(value - least - Math.round((value - least) / step) * step) <= rounding)) {
      return steps;
    }
  }
  return null;
}

/** The step from -8 to 7 that is nearest. */
function level(value: number, first: number, inverse: number): number {
  const step = Math.floor((value - first) * inverse + 0.5);
  return (step < 0 ? 0 : Math.min(step, 15)) - 8;
}

/** Boundaries between neighbouring values: a number above one takes the greater. */
const MIDDLES: readonly number[] = Array.from(
  { length: 15 },
  (_, i) => (NORMAL_FLOATS[i]! + NORMAL_FLOATS[i + 1]!) / 2,
);

function normalFloats(values: Float32Array, at: number, block: number, { codes, scales }: Blocks): void {
  const from = at * block;
  let largest = 0;
  for (let i = from; i < from + block; i++) largest = Math.max(largest, Math.abs(values[i]!));
  scales[at] = largest;
  const inverse = largest > 0 ? Math.fround(1 / largest) : 0;
  for (let i = from; i < from + block; i += 2) {
    codes[i >> 1] = (nearest(values[i]! * inverse) << 4) | nearest(values[i + 1]! * inverse);
  }
}

/** Index of the nearest value, by halving. */
function nearest(value: number): number {
  let index = 0;
  for (let step = 8; step > 0; step >>= 1) if (value > MIDDLES[index + step - 1]!) index += step;
  return index;
}

/** The four values of every u16 of codes [65536, 4]: what graphs look weights up in. */
export function normalFloatQuads(): Float32Array {
  const quads = new Float32Array(65536 * 4);
  for (let code = 0; code < 65536; code++) {
    // Bytes of a u16 lie low first, codes of a byte high first.
    const codes = [(code >> 4) & 15, code & 15, code >> 12, (code >> 8) & 15];
    codes.forEach((each, i) => {
      quads[4 * code + i] = NORMAL_FLOATS[each]!;
    });
  }
  return quads;
}

/** Numbers in eight bits, blocks of 32: w ≈ (code − 128) · scale, as GGUF's Q8_0 but for the exact scale. */
export interface ByteBlocks {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
}

export function quantiseBytes(values: Float32Array): ByteBlocks {
  const scales = new Float32Array(values.length / 32);
  const codes = new Uint8Array(values.length);
  for (let block = 0; block < scales.length; block++) {
    const from = 32 * block;
    let largest = 0;
    for (let i = from; i < from + 32; i++) largest = Math.max(largest, Math.abs(values[i]!));
    scales[block] = largest / 127;
    const inverse = largest > 0 ? 127 / largest : 0;
    for (let i = from; i < from + 32; i++) codes[i] = Math.round(values[i]! * inverse) + 128;
  }
  return { codes, scales };
}
