/** Conversions between float32 and the two 16-bit floats, round to nearest even. */

const scratch = new Float32Array(1);
const bits = new Uint32Array(scratch.buffer);

/** IEEE 754 binary16 pattern of `value`. */
export function toHalf(value: number): number {
  scratch[0] = value;
  const word = bits[0]!;
  const sign = (word >>> 16) & 0x8000;
  const exponent = (word >>> 23) & 0xff;
  const mantissa = word & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00 | (mantissa === 0 ? 0 : 0x200 | (mantissa >>> 13));
  const unbiased = exponent - 127 + 15;
  if (unbiased >= 31) return sign | 0x7c00;
  if (unbiased <= 0) {
    if (unbiased < -10) return sign;
    return sign | roundShift(mantissa | 0x800000, 14 - unbiased);
  }
  // A carry out of the mantissa raises the exponent, and overflows to infinity as it should.
  return sign + (unbiased << 10) + roundShift(mantissa, 13);
}

/** Float value of an IEEE 754 binary16 pattern. */
export function fromHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 31) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** bfloat16 pattern of `value`. */
export function toBfloat(value: number): number {
  scratch[0] = value;
  const word = bits[0]!;
  if (Number.isNaN(value)) return (word >>> 16) | 0x40;
  return roundShift(word, 16) & 0xffff;
}

/** Float value of a bfloat16 pattern. */
export function fromBfloat(pattern: number): number {
  bits[0] = pattern << 16;
  return scratch[0]!;
}

/** value / 2^shift, rounded to nearest, ties to even. */
function roundShift(value: number, shift: number): number {
  const unsigned = value >>> 0;
  const divisor = 2 ** shift;
  const quotient = Math.floor(unsigned / divisor);
  const rest = unsigned - quotient * divisor;
  const half = divisor / 2;
  return quotient + (rest > half || (rest === half && quotient % 2 === 1) ? 1 : 0);
}
