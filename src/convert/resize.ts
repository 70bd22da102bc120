/** An adapter at another rank: the best approximation of each update, by its singular values. */

import { UsageError } from "../errors.ts";
import { type LowRank, readLora, writeLora } from "./lora-file.ts";
import { truncateProduct } from "./truncation.ts";

export interface ResizeInput {
  readonly adapter: string;
  /** Either the rank of every module, */
  readonly rank?: number;
  /** or the share of Σσ² that each module keeps, above 0 up to 1, at the smallest rank that does. */
  readonly energy?: number;
  readonly out: string;
}

export interface ResizeResult {
  readonly out: string;
  /** Largest rank. */
  readonly r: number;
  readonly modules: number;
  readonly parametersBefore: number;
  readonly parameters: number;
  /** Share of Σσ² that is kept, over all modules, and the least of a module. */
  readonly energy: number;
  readonly leastEnergy: number;
}

/** Reads, cuts or pads, and writes. Exact where the rank is at least the adapter's own. Throws as `readLora` does. */
export function resizeAdapter({ adapter, rank, energy, out }: ResizeInput): ResizeResult {
  if ((rank === undefined) === (energy === undefined)) {
    throw new UsageError("adapter resize needs either --r, the new rank, or --energy, the share to keep.");
  }
  if (rank !== undefined && !(Number.isInteger(rank) && rank > 0)) {
    throw new UsageError(`--r: found ${rank}, needed a whole number above 0.`);
  }
  if (energy !== undefined && !(energy > 0 && energy <= 1)) {
    throw new UsageError(`--energy: found ${energy}, needed a share above 0 up to 1.`);
  }
  const file = readLora(adapter);
  const modules = new Map<string, LowRank>();
  let [keptAll, totalAll, leastEnergy] = [0, 0, 1];
  for (const [name, factors] of file.modules) {
    const B = Float64Array.from(factors.B, (value) => value * factors.scaling);
    const choose = (s: Float64Array): number => rank ?? smallestRank(s, energy!);
    const { factors: resized, kept, total } = truncateProduct(B, factors.A, factors.rank, factors, choose);
    modules.set(name, resized);
    keptAll += kept;
    totalAll += total;
    if (total > 0) leastEnergy = Math.min(leastEnergy, kept / total);
  }
  writeLora(out, { ...file.config, init_lora_weights: true }, modules);
  return {
    out,
    r: Math.max(...[...modules.values()].map((each) => each.rank)),
    modules: modules.size,
    parametersBefore: parametersOf(file.modules),
    parameters: parametersOf(modules),
    energy: totalAll === 0 ? 1 : keptAll / totalAll,
    leastEnergy,
  };
}

function smallestRank(s: Float64Array, energy: number): number {
  const total = s.reduce((sum, value) => sum + value * value, 0);
  let [kept, rank] = [0, 0];
  while (rank < s.length && (rank === 0 || kept < energy * total)) kept += s[rank++]! ** 2;
  return rank;
}

function parametersOf(modules: ReadonlyMap<string, LowRank>): number {
  return [...modules.values()].reduce((sum, { rank, in: width, out }) => sum + rank * (width + out), 0);
}
