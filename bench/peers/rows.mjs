/** Rows of benchmarks in an order that a seed fixes. */

import { readFileSync, writeFileSync } from "node:fs";

/** Mulberry32: numbers from 0 to 1. */
export function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function shuffled(items, draw) {
  const out = [...items];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1));
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

/** Writes the first `count` rows (all) of `from`, shuffled, to `to`, and says how many there are. */
export function shuffleFile(from, to, seed, count) {
  const lines = shuffled(readFileSync(from, "utf8").trim().split("\n"), random(seed)).slice(0, count);
  writeFileSync(to, `${lines.join("\n")}\n`);
  return lines.length;
}
