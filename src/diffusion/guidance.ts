/** Classifier-free guidance (Ho and Salimans 2022), and its rescaling (Lin et al. 2024, section 3.4). */

import { mix } from "./mix.ts";

/**
 * without + scale · (given − without), of predictions without and with the prompt; `rescale` above 0 moves that share of
 * the way to the standard deviation of the prediction with it.
 */
export function guided(without: Float32Array, given: Float32Array, scale: number, rescale: number): Float32Array {
  const sum = mix([1 - scale, without], [scale, given]);
  if (rescale === 0) return sum;
  const ratio = deviation(given) / deviation(sum);
  return mix([rescale * ratio + 1 - rescale, sum]);
}

function deviation(values: Float32Array): number {
  let [sum, squares] = [0, 0];
  for (const value of values) sum += value;
  const mean = sum / values.length;
  for (const value of values) squares += (value - mean) ** 2;
  return Math.sqrt(squares / (values.length - 1));
}
