/** The rank study of adapters: spectra, subspaces in common, amplification; the paper's section 7 for any LoRA. */

import { type LoraFile, type LowRank, readLora } from "../convert/lora-file.ts";
import { ModelError, UsageError } from "../errors.ts";
import { readTensor } from "../files/safetensors.ts";
import { folderName } from "../files/snapshot-path.ts";
import type { Model } from "../models/open.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { type Svd, transpose } from "../tensor/linear-algebra.ts";
import { type Amplification, amplification, largestDirections } from "./amplification.ts";
import { decompose, rightVectors } from "./factor.ts";
import { rankHolding, type Spectrum, spectrumOf } from "./spectrum.ts";
import { expectedSimilarity, randomBasis, similarity } from "./subspace.ts";

export interface StudyInput {
  readonly adapters: readonly { readonly name: string; readonly path: string }[];
  /** For amplification; null leaves it out. */
  readonly model: Model | null;
  /** Share of Σσ² that a suggested rank holds. */
  readonly energy: number;
  /** Directions of the amplification study; null: each module's rank. */
  readonly r: number | null;
  /** Told of each module that is done. */
  onProgress?(done: number, total: number): void;
}

export interface ModuleStudy extends Spectrum {
  readonly module: string;
  readonly rank: number;
  readonly shape: readonly [out: number, width: number];
  /** Fewest singular directions that hold the share of energy asked for. */
  readonly suggestedRank: number;
  readonly amplification: Amplification | null;
}

export interface AdapterStudy {
  readonly name: string;
  readonly path: string;
  readonly modules: readonly ModuleStudy[];
  /** Parameters now, and with the suggested ranks. */
  readonly parameters: number;
  readonly suggestedParameters: number;
}

/** φ between two adapters, or one and random spaces, of one module. */
export interface Overlap {
  readonly module: string;
  readonly first: string;
  readonly second: string;
  /** φ(i, j) of the right-singular vectors of A, [k₁, k₂]. */
  readonly phi: readonly (readonly number[])[];
  /** What random spaces of these sizes have in common. */
  readonly expected: number;
}

export interface Study {
  readonly base: string | null;
  readonly energy: number;
  readonly adapters: readonly AdapterStudy[];
  readonly overlaps: readonly Overlap[];
}

const RANDOM = "random";

/** Layer 2 before layer 10. */
const { compare: byNumber } = new Intl.Collator("en", { numeric: true });

/** Throws UsageError for methods that are no plain LoRA, ModelError for a base that does not fit. */
export function studyAdapters({ adapters, model, energy, r, onProgress }: StudyInput): Study {
  if (!(energy > 0 && energy <= 1)) throw new UsageError(`energy: found ${energy}, needed a share above 0, up to 1.`);
  const files = adapters.map(({ name, path }) => ({ name, file: inOrder(readLora(path)) }));
  const total = files.reduce((sum, { file }) => sum + file.modules.size, 0);
  const most = Math.max(0, ...files.flatMap(({ file }) => [...file.modules.values()].map(({ rank }) => rank)));
  const baseOf = model && baseWeights(model, Math.min(r ?? most, most));
  let done = 0;
  const studied = files.map(({ name, file }): AdapterStudy => {
    const modules = [...file.modules].map(([module, factors]): ModuleStudy => {
      const update = decompose(factors);
      const study = moduleStudy(
        module,
        factors,
        update,
        energy,
        baseOf && !factors.embedding && update.s[0]! > 0
          ? strengthening(baseOf(module, factors), factors, update, r)
          : null,
      );
      onProgress?.(++done, total);
      return study;
    });
    const size = (rank: (study: ModuleStudy) => number): number =>
      modules.reduce((sum, study) => sum + rank(study) * (study.shape[0] + study.shape[1]), 0);
    return {
      name,
      path: file.path,
      modules,
      parameters: size(({ rank }) => rank),
      suggestedParameters: size(({ suggestedRank }) => suggestedRank),
    };
  });
  return { base: model && folderName(model.folder), energy, adapters: studied, overlaps: overlapsOf(files) };
}

function inOrder(file: LoraFile): LoraFile {
  return { ...file, modules: new Map([...file.modules].toSorted(([a], [b]) => byNumber(a, b))) };
}

function moduleStudy(
  module: string,
  { rank, in: width, out }: LowRank,
  { s }: Svd,
  energy: number,
  strengthened: Amplification | null,
): ModuleStudy {
  return {
    module,
    rank,
    shape: [out, width],
    ...spectrumOf(s),
    suggestedRank: Math.max(1, rankHolding(s, energy)),
    amplification: strengthened,
  };
}

/** A module's weight and its own largest directions, which all adapters are held against. */
interface BaseWeight {
  readonly weight: Float32Array;
  readonly largest: Svd;
}

/** Gives modules' weights with `r` directions, which are sought once for each: a weight is read again, its directions are kept. */
function baseWeights(model: Model, r: number): (module: string, factors: LowRank) => BaseWeight {
  const known = new Map<string, Svd>();
  return (module, { out, in: width }) => {
    const weight = weightOf(model, module, out, width);
    const largest = known.get(module) ?? largestDirections(weight, [out, width], Math.min(r, out, width));
    known.set(module, largest);
    return { weight, largest };
  };
}

/** Amplification on the base's own weight. */
function strengthening(
  base: BaseWeight,
  { out, in: width, rank }: LowRank,
  update: Svd,
  r: number | null,
): Amplification {
  return amplification(base.weight, base.largest, [out, width], update, Math.min(r ?? rank, rank));
}

/** The module's matrix as [out, in]. GPT-2 stores it [in, out]; a square one is told by the architecture. */
function weightOf(model: Model, module: string, out: number, width: number): Float32Array {
  const name = `${module}.weight`;
  if (!model.source.has(name)) throw new ModelError(`${model.folder} has no ${name}: is it the adapter's base?`);
  const transposed = model.rawConfig["model_type"] === "gpt2";
  const shape = transposed ? [width, out] : [out, width];
  const entry = model.source.find(name, shape);
  const data = toFloat32(readTensor({ ...entry, name, storedType: entry.dtype }));
  return transposed ? Float32Array.from(transpose(data, width, out)) : data;
}

/** Every pair of adapters, and each with random spaces, in the modules that they share. */
function overlapsOf(files: readonly { readonly name: string; readonly file: LoraFile }[]): Overlap[] {
  const overlaps: Overlap[] = [];
  files.forEach(({ name, file }, at) => {
    for (const [module, factors] of file.modules) {
      const mine = basisOf(factors);
      for (const other of files.slice(at + 1)) {
        const theirs = other.file.modules.get(module);
        if (theirs && theirs.in === factors.in) overlaps.push(overlap(module, name, other.name, mine, basisOf(theirs)));
      }
      overlaps.push(overlap(module, name, RANDOM, mine, randomBasis(mine.k, mine.width, 4)));
    }
  });
  return overlaps;
}

type Basis = ReturnType<typeof randomBasis>;

function basisOf(factors: LowRank): Basis {
  const vectors = rightVectors(factors);
  return { vectors, k: vectors.length / factors.in, width: factors.in };
}

function overlap(module: string, first: string, second: string, a: Basis, b: Basis): Overlap {
  const phi = similarity(a, b);
  const rows = Array.from({ length: a.k }, (_, i) => Array.from(phi.subarray(i * b.k, (i + 1) * b.k)));
  return { module, first, second, phi: rows, expected: expectedSimilarity(a.k, b.k, a.width) };
}
