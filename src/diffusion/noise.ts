/** Standard normal noise, fixed by a seed, what it is for and which of its kind it is; never by what was drawn before. */

import { hashText, randomStream } from "../tensor/random.ts";

export function noiseOfSeed(seed: number, purpose: "start" | "step", index: number, size: number): Float32Array {
  const random = randomStream(seed, hashText(purpose), index);
  return Float32Array.from({ length: size }, () => random.normal());
}
