/**
 * Several LoRA adapters as one, as PEFT's `add_weighted_adapter` documents it. `cat` is exact: its update is Σ w·ΔW.
 * `svd` is the best one of its rank. `linear`, `ties`, `dare_linear`, `dare_ties` and `magnitude_prune` work on A and B
 * apart, each weighed by √|w·s|, which is no sum of updates; their `_svd` forms work on ΔW and then cut the rank.
 */

import { AdapterMismatchError, UsageError } from "../errors.ts";
import { multiply } from "../tensor/linear-algebra.ts";
import { hashText, randomStream } from "../tensor/random.ts";
import { joinedTargets, type LoraFile, type LowRank, readLora, writeLora } from "./lora-file.ts";
import { mergeUpdates, RULES, type Rule, type RuleOptions } from "./task-arithmetic.ts";
import { truncateMatrix, truncateProduct } from "./truncation.ts";

export const COMBINATIONS: readonly string[] = [
  "cat",
  ...RULES,
  "svd",
  ...RULES.filter((rule) => rule !== "linear").map((rule) => `${rule}_svd`),
];

export interface CombineInput {
  readonly adapters: readonly { readonly path: string; readonly weight: number }[];
  /** One of COMBINATIONS; `cat` when not given. */
  readonly type?: string;
  /** Rank of the result, for types that end in svd; the largest rank of the inputs when not given. */
  readonly rank?: number;
  /** Share of elements that pruning keeps; needed by ties, dare and magnitude_prune. */
  readonly density?: number;
  readonly majoritySign?: "total" | "frequency";
  /** For dare. */
  readonly seed?: number;
  readonly out: string;
}

export interface CombineResult {
  readonly out: string;
  readonly type: string;
  readonly r: number;
  readonly modules: number;
  /** Share of Σσ² that the rank keeps, for types that end in svd; null for others. */
  readonly energy: number | null;
}

interface Part {
  readonly factors: LowRank;
  readonly weight: number;
}

interface Plan {
  readonly type: string;
  readonly rank: number;
  readonly options: Omit<RuleOptions, "random">;
  readonly seed: number;
}

/** Reads, combines and writes. Throws UsageError for options, AdapterMismatchError for adapters of different bases. */
export function combineAdapters(input: CombineInput): CombineResult {
  const { adapters, out, type = "cat", seed = 0 } = input;
  if (!COMBINATIONS.includes(type)) {
    throw new UsageError(`--type ${type} is not known. Known: ${COMBINATIONS.join(", ")}.`);
  }
  if (adapters.length === 0) throw new UsageError("Nothing to combine: name at least one adapter.");
  const files = adapters.map(({ path }) => readLora(path));
  const ranks = files.map(({ modules }) => Math.max(...[...modules.values()].map(({ rank }) => rank)));
  const plan: Plan = { type, rank: rankOf(type, ranks, files, input), options: optionsOf(type, input), seed };
  const names = [...new Set(files.flatMap(({ modules }) => [...modules.keys()]))];
  const modules = new Map<string, LowRank>();
  let [kept, total] = [0, 0];
  for (const name of names) {
    const parts = files.flatMap(({ modules: held }, i) =>
      held.has(name) ? [{ factors: held.get(name)!, weight: adapters[i]!.weight }] : [],
    );
    checkShapes(name, parts, files);
    const found = combineModule(name, parts, plan);
    modules.set(name, found.factors);
    kept += found.kept;
    total += found.total;
  }
  const [{ config }] = files as [LoraFile];
  const base = files.find((file) => file.config.base_model_name_or_path)?.config.base_model_name_or_path ?? null;
  const settled = { ...config, ...joinedTargets(files), base_model_name_or_path: base, init_lora_weights: true };
  writeLora(out, settled, modules);
  const energy = type.endsWith("svd") ? (total === 0 ? 1 : kept / total) : null;
  return { out, type, r: plan.rank, modules: modules.size, energy };
}

function rankOf(type: string, ranks: readonly number[], files: readonly LoraFile[], { rank }: CombineInput): number {
  if (rank !== undefined && !type.endsWith("svd")) {
    throw new UsageError(
      `--r fits types that end in svd; the rank of ${type} follows from the adapters. Leave it out.`,
    );
  }
  if (rank !== undefined && !(Number.isInteger(rank) && rank > 0)) {
    throw new UsageError(`--r: found ${rank}, needed a whole number above 0.`);
  }
  if (type === "cat") return ranks.reduce((a, b) => a + b, 0);
  if (type.endsWith("svd")) return rank ?? Math.max(...ranks);
  const all = new Set(files.flatMap(({ modules }) => [...modules.values()].map((each) => each.rank)));
  if (all.size > 1) {
    throw new UsageError(
      `${type} adds factors element by element and needs one rank everywhere, found ${files.map(({ path }, i) => `${path}: ${ranks[i]}`).join(", ")}. ` +
        "Use cat or a type that ends in svd, or bring them to one rank with adapter resize.",
    );
  }
  return ranks[0]!;
}

function optionsOf(type: string, { density, majoritySign = "total" }: CombineInput): Plan["options"] {
  const prunes = /ties|dare|prune/.test(type);
  if (prunes && !(density !== undefined && density > 0 && density <= 1)) {
    const found = density === undefined ? "none" : String(density);
    throw new UsageError(
      `--density: found ${found}, but ${type} needs the share of elements to keep, above 0 up to 1.`,
    );
  }
  if (!prunes && density !== undefined) throw new UsageError(`--density: ${type} prunes nothing. Leave it out.`);
  return { density: density ?? 1, majoritySign };
}

function checkShapes(name: string, parts: readonly Part[], files: readonly LoraFile[]): void {
  const shapes = new Set(
    parts.map(({ factors: { out, in: width, embedding } }) => `[${out}, ${width}]${embedding ? " embedding" : ""}`),
  );
  if (shapes.size === 1) return;
  const problem = `${name}: ${[...shapes].join(" and ")}`;
  throw new AdapterMismatchError(
    `${files.map(({ path }) => path).join(", ")} do not adapt one base. ${problem}. Combine adapters of the same model.`,
    [problem],
  );
}

function combineModule(name: string, parts: readonly Part[], { type, rank, options, seed }: Plan) {
  const [
    {
      factors: { out, in: width, embedding },
    },
  ] = parts as [Part];
  const kind = { out, in: width, embedding };
  const random = randomStream(seed, hashText(name));
  const plain = (factors: LowRank) => ({ factors, kept: 0, total: 0 });
  if (type === "cat") return plain(concatenated(parts, rank));
  if (type === "svd") {
    const {
      A,
      B,
      rank: k,
    } = concatenated(
      parts,
      parts.reduce((sum, { factors }) => sum + factors.rank, 0),
    );
    return truncateProduct(B, A, k, kind, () => rank);
  }
  if (type.endsWith("_svd")) {
    const updates = parts.map(({ factors: { A, B, rank: r, scaling } }) =>
      multiply(B, A, out, r, width).map((value) => scaling * value),
    );
    const rule = type.slice(0, -"_svd".length) as Rule;
    return truncateMatrix(
      mergeUpdates(
        rule,
        updates,
        parts.map(({ weight }) => weight),
        { ...options, random },
      ),
      kind,
      rank,
    );
  }
  const factor = parts.map(({ factors: { scaling }, weight }) => weight * scaling);
  const merged = (half: "A" | "B", weights: readonly number[]): Float64Array =>
    mergeUpdates(
      type as Rule,
      parts.map(({ factors }) => factors[half]),
      weights,
      { ...options, random },
    );
  const A = merged(
    "A",
    factor.map((value) => (value < 0 ? -1 : 1) * Math.sqrt(Math.abs(value))),
  );
  const B = merged(
    "B",
    factor.map((value) => Math.sqrt(Math.abs(value))),
  );
  return plain({ ...kind, rank, A, B, scaling: 1 });
}

/** A stacked with their weights, B side by side; zeros up to `rank`, where an adapter does not adapt the module. */
function concatenated(parts: readonly Part[], rank: number): LowRank {
  const [
    {
      factors: { out, in: width, embedding },
    },
  ] = parts as [Part];
  const A = new Float64Array(rank * width);
  const B = new Float64Array(out * rank);
  let from = 0;
  for (const { factors, weight } of parts) {
    const scale = weight * factors.scaling;
    for (let i = 0; i < factors.rank * width; i++) A[from * width + i] = scale * factors.A[i]!;
    for (let i = 0; i < out; i++) {
      for (let j = 0; j < factors.rank; j++) B[i * rank + from + j] = factors.B[i * factors.rank + j]!;
    }
    from += factors.rank;
  }
  return { rank, in: width, out, A, B, scaling: 1, embedding };
}
