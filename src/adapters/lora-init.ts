/** Initial values of A and B by `init_lora_weights`; formulas of PEFT's `tuners/lora/layer.py`. */

import { UsageError } from "../errors.ts";
import type { Random } from "../tensor/random.ts";
import { floatTensor } from "../tensor/tensor.ts";
import { type Branch, matrixShape } from "./branch.ts";
import { leadingQ, type Matrix, randomRightSingular, rightSingular, times, timesTransposed } from "./linear-algebra.ts";
import { changesBase } from "./lora-config.ts";
import { transposed } from "./low-rank.ts";
import type { InitContext, Parameter } from "./method.ts";

export type BranchFacts = Omit<Branch, "A" | "B" | "magnitude" | "start"> & {
  /** Rows of A. */
  readonly rank: number;
  /** Shape of B [rows, columns]. */
  readonly shapeB: readonly [number, number];
  readonly keyA: string;
  readonly keyB: string;
};

type Init = NonNullable<Parameter["init"]>;

interface BranchInit {
  readonly A: Init;
  readonly B: Init;
}

/**
 * - true: A Kaiming uniform with a = √5, which is U(±1/√in), B zero; embeddings A zero, B standard normal.
 * - false: A and B as PyTorch fills new layers, so that the branch does something at once.
 * - "gaussian": A normal with deviation 1/r, B zero.
 * - "pissa", "pissa_niter_4": A and B from the largest singular values of the matrix, exact or by so many iterations of
 *   a random subspace (Meng et al. 2024); "olora": from its QR decomposition (Büyükakyüz 2024). Both take B·A off the base.
 * - "loftq": A and B from the largest singular values of what quantising took off the matrix (Li et al. 2023, with one
 *   iteration, PEFT's default): the base stays the quantised one.
 * - "eva": A from the directions in which the layer's inputs vary most (Paischer et al. 2024), which eva.ts tells of, B
 *   zero; as true where the data does not reach the layer.
 * - "orthogonal": A and B from the odd and even rows of a random orthogonal matrix [r, r].
 */
export function branchInit(kind: boolean | string, facts: BranchFacts): BranchInit {
  const { kind: layer, in: width, out, rank, module, shapeB } = facts;
  const [, columnsB] = shapeB;
  const sizeB = shapeB[0] * columnsB;
  const zeros =
    (count: number): Init =>
    () =>
      new Float32Array(count);
  if (layer === "embedding") {
    const B: Init = ({ random }) => normals(out * rank, 1, random);
    return kind === false ? { A: ({ random }) => normals(rank * width, 1, random), B } : { A: zeros(rank * width), B };
  }
  const kaiming: Init = ({ random }) => uniforms(rank * width, 1 / Math.sqrt(width), random);
  if (kind === true) return { A: kaiming, B: zeros(sizeB) };
  if (kind === false) return { A: kaiming, B: ({ random }) => uniforms(sizeB, 1 / Math.sqrt(columnsB), random) };
  if (kind.toLowerCase() === "gaussian") {
    return { A: ({ random }) => normals(rank * width, 1 / columnsB, random), B: zeros(sizeB) };
  }
  if (facts.slices) throw new UsageError(`enable_lora has no init_lora_weights ${kind}. Use true, false or gaussian.`);
  if (kind === "olora") return oloraInit(facts);
  if (changesBase(kind)) return pissaInit(facts, kind);
  if (kind === "loftq") return singularInit(facts, loftqResidual(facts), (matrix) => rightSingular(matrix, rank));
  if (kind === "orthogonal") return orthogonalInit(module, rank, width, out);
  if (kind === "eva") {
    const A: Init = (context) => {
      if (context.directions) return context.directions.get(module) ?? kaiming(context);
      throw new UsageError("init_lora_weights eva starts from training rows. Train with it: lowrank train --init eva.");
    };
    return { A, B: zeros(sizeB) };
  }
  // It starts from gradients and leaves the base alone: a trained adapter of it is a plain one.
  if (kind === "lora_ga") return { A: unmade(kind), B: unmade(kind) };
  throw new UsageError(
    `init_lora_weights ${JSON.stringify(kind)} is not known. Known: true, false, "gaussian", "orthogonal", "pissa", "pissa_niter_N", "olora", "loftq", "eva".`,
  );
}

function unmade(kind: string): Init {
  return () => {
    throw new UsageError(`init_lora_weights ${kind} cannot be computed here. Start from true, or from an adapter.`);
  };
}

/** The matrix [out, in], however it is stored. */
function matrixOf({ layout, matrix, in: width, out, rank, module }: BranchFacts, base: InitContext["base"]): Matrix {
  if (rank > Math.min(width, out)) {
    throw new UsageError(`${module}: rank ${rank} is more than its matrix [${out}, ${width}] has. Lower r.`);
  }
  const data = base(matrix, matrixShape({ layout, in: width, out }));
  const turned = layout === "in,out" ? transposed(floatTensor([width, out], data)).data : data;
  return { rows: out, columns: width, data: turned };
}

type Singular = ReturnType<typeof rightSingular>;

function pissaInit(facts: BranchFacts, kind: string): BranchInit {
  const { rank, module } = facts;
  const [, iterations] = kind.split("_niter_");
  return singularInit(
    facts,
    ({ base }) => matrixOf(facts, base),
    (matrix, shared) =>
      iterations === undefined
        ? rightSingular(matrix, rank)
        : randomRightSingular(matrix, rank, Number(iterations), shared(`pissa.${module}`)),
  );
}

/** W less what the quantised base computes with. */
function loftqResidual(facts: BranchFacts): (context: InitContext) => Matrix {
  return ({ base, computed }) => {
    const [whole, held] = [matrixOf(facts, base), matrixOf(facts, computed)];
    const data = Float32Array.from(whole.data, (value, i) => value - held.data[i]!);
    if (data.some((value) => value !== 0)) return { ...whole, data };
    throw new UsageError(
      `init_lora_weights loftq starts from what quantising takes off, which is nothing at ${facts.module}. Use --precision int4, or another --init.`,
    );
  };
}

/** A = √(S/s)·Vᵀ and B = U·√(S/s) of M = U·S·Vᵀ: each column of B is M·aᵀ / (s·‖a‖²) for its row a of A. */
function singularInit(
  { rank, out, in: width, scaling, keyA }: BranchFacts,
  matrixFrom: (context: InitContext) => Matrix,
  decompose: (matrix: Matrix, shared: InitContext["shared"]) => Singular,
): BranchInit {
  return {
    A: (context) => {
      const { vectors, values } = decompose(matrixFrom(context), context.shared);
      const A = new Float32Array(rank * width);
      vectors.forEach((vector, k) => {
        const factor = Math.sqrt(values[k]! / scaling);
        A.set(
          vector.map((value) => factor * value),
          k * width,
        );
      });
      return A;
    },
    B: (context) => {
      const matrix = matrixFrom(context);
      const A = context.value(keyA).data;
      const B = new Float32Array(out * rank);
      for (let k = 0; k < rank; k++) {
        const row = A.subarray(k * width, (k + 1) * width);
        const square = row.reduce((sum, each) => sum + each * each, 0);
        if (square === 0) continue;
        times(matrix, row).forEach((each, o) => {
          B[o * rank + k] = each / (scaling * square);
        });
      }
      return B;
    },
  };
}

/** B = Q and A = R of W = Q·R, the first r of their columns and rows. */
function oloraInit(facts: BranchFacts): BranchInit {
  const { rank, out, in: width, keyB } = facts;
  return {
    A: ({ base, value }) => {
      const matrix = matrixOf(facts, base);
      const Q = transposed(value(keyB)).data;
      const A = new Float32Array(rank * width);
      for (let k = 0; k < rank; k++) A.set(timesTransposed(matrix, Q.subarray(k * out, (k + 1) * out)), k * width);
      return A;
    },
    B: ({ base }) => {
      const columns = leadingQ(matrixOf(facts, base), rank);
      return Float32Array.from({ length: out * rank }, (_, i) => columns[i % rank]![Math.floor(i / rank)]!);
    },
  };
}

/** A = (N₁·Q_odd)ᵀ / 10 and B = N₂·Q_even / 10: the rows of A and the columns of B span subspaces that never meet. */
function orthogonalInit(module: string, rank: number, width: number, out: number): BranchInit {
  if (rank % 2 !== 0) throw new UsageError(`Orthogonal initialisation needs an even rank, found ${rank} at ${module}.`);
  const half = rank / 2;
  const mixed = (count: number, parity: 0 | 1, Q: Float64Array[], random: Random): Float64Array[] =>
    Array.from({ length: count }, () => {
      const row = new Float64Array(rank);
      for (let k = 0; k < half; k++) {
        const factor = random.normal() / 10;
        for (let j = 0; j < rank; j++) row[j]! += factor * Q[2 * k + parity]![j]!;
      }
      return row;
    });
  const basis = (shared: (text: string) => Random): Float64Array[] =>
    orthogonalRows(rank, shared(`orthogonal.${module}`));
  return {
    A: ({ random, shared }) => {
      const columns = mixed(width, 0, basis(shared), random); // Aᵀ
      return Float32Array.from({ length: rank * width }, (_, i) => columns[i % width]![Math.floor(i / width)]!);
    },
    B: ({ random, shared }) => {
      const rows = mixed(out, 1, basis(shared), random);
      return Float32Array.from({ length: out * rank }, (_, i) => rows[Math.floor(i / rank)]![i % rank]!);
    },
  };
}

/** The rows of a random orthogonal matrix (Gram and Schmidt on normal vectors, twice for accuracy). */
function orthogonalRows(size: number, random: Random): Float64Array[] {
  const rows: Float64Array[] = [];
  for (let i = 0; i < size; i++) {
    const row = Float64Array.from({ length: size }, () => random.normal());
    for (const other of [...rows, ...rows]) {
      const along = row.reduce((sum, value, j) => sum + value * other[j]!, 0);
      for (let j = 0; j < size; j++) row[j]! -= along * other[j]!;
    }
    const length = Math.hypot(...row);
    rows.push(row.map((value) => value / length));
  }
  return rows;
}

export function uniforms(count: number, bound: number, random: Random): Float32Array {
  return Float32Array.from({ length: count }, () => (2 * random.uniform() - 1) * bound);
}

export function normals(count: number, deviation: number, random: Random): Float32Array {
  return Float32Array.from({ length: count }, () => random.normal() * deviation);
}
