/**
 * How far the scores of one evaluation lie from those of another, of the same rows:
 *   lowrank eval --model MODEL --data ROWS --logits a.safetensors
 *   lowrank eval --model MODEL --data ROWS --precision int8 --logits b.safetensors
 *   node scripts/score-distance.mjs a.safetensors b.safetensors
 * Prints the mean Kullback-Leibler divergence of a position's distribution (in nats, and so in loss where the text is as the
 * first model expects it) and the root mean square of the differences of scores.
 */

import { openSafetensors, readTensors } from "../dist/files/safetensors.js";

const [exact, other] = process.argv.slice(2).map((path) => readTensors(openSafetensors(path)));
let [divergence, squares, positions, scores] = [0, 0, 0, 0];
for (const [name, { shape, data }] of exact) {
  const theirs = other.get(name).data;
  const classes = shape.at(-1);
  for (let at = 0; at < data.length; at += classes) {
    const [p, q] = [logShares(data, at, classes), logShares(theirs, at, classes)];
    for (let i = 0; i < classes; i++) {
      divergence += Math.exp(p[i]) * (p[i] - q[i]);
      squares += (data[at + i] - theirs[at + i]) ** 2;
    }
    positions++;
    scores += classes;
  }
}
console.log(
  `${positions} positions: divergence ${(divergence / positions).toFixed(5)}, scores differ by ${Math.sqrt(squares / scores).toFixed(3)}`,
);

function logShares(values, from, count) {
  const part = Float64Array.from(values.subarray(from, from + count));
  const largest = part.reduce((a, b) => Math.max(a, b));
  const sum = Math.log(part.reduce((total, value) => total + Math.exp(value - largest), 0));
  return part.map((value) => value - largest - sum);
}
