/**
 * LoRA (Hu et al. 2021, arXiv:2106.09685, equation 3) as a decoration of Weights: beside a targeted layer
 * y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ with A [r, in], B [out, r] and s = α / r; W stays frozen. For an embedding x is one-hot, so
 * that x·Aᵀ picks columns of A [r, rows].
 * Layout, names and initial values as PEFT's `tuners/lora/layer.py`.
 */

import { UsageError } from "../errors.ts";
import { constant, type Value } from "../graph/graph.ts";
import { gatherRows } from "../graph/ops/gather.ts";
import { gemm, matMul } from "../graph/ops/matmul.ts";
import { transpose } from "../graph/ops/movement.ts";
import type { ModelTrace, Module } from "../models/trace.ts";
import type { Weights } from "../models/weights.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import { trainedBiases } from "./biases.ts";
import {
  type Branch,
  enabledCount,
  matrixShape,
  mergeBranch,
  outputNorms,
  placedValue,
  plainFactors,
} from "./branch.ts";
import { composeMethods } from "./compose.ts";
import { doraEmbedding, doraLinear } from "./dora.ts";
import { dropOut } from "./dropout.ts";
import { changesBase, type LoraConfig, loraScaling } from "./lora-config.ts";
import { branchInit } from "./lora-init.ts";
import type { BoundMethod, DecorateOptions, Parameter } from "./method.ts";
import { readersIn, savedModules, savedTensors } from "./modules-to-save.ts";
import { patternValue, selectTargets } from "./targets.ts";
import { trainableTokens } from "./trainable-tokens.ts";

/** Binds a completed configuration to a model. `strict` as for selectTargets. */
export function bindLora(
  config: LoraConfig,
  trace: ModelTrace,
  { strict = true }: { strict?: boolean } = {},
): BoundMethod {
  const saved = savedTensors(config.modules_to_save ?? []);
  const rules = { ...config, target_modules: config.target_modules ?? [] };
  const targets = selectTargets(trace, rules, { strict }).filter(({ name }) => !saved.covers(name));
  const branches = new Map(targets.map((module) => [module.name, createBranch(module, config)]));
  return composeMethods([
    savedModules(trace, config, { strict }),
    trainedBiases(trace, config.bias, [...branches.keys()], saved.covers),
    branchMethod(branches, config, trace),
    ...(config.trainable_token_indices ? [trainableTokens(config.trainable_token_indices, trace)] : []),
  ]);
}

/** The low-rank branches alone. */
function branchMethod(branches: ReadonlyMap<string, Branch>, config: LoraConfig, trace: ModelTrace): BoundMethod {
  const all = [...branches.values()];
  const byMatrix = new Map(all.map((branch) => [`${branch.module}.weight`, branch]));
  const parameters = all.flatMap(({ A, B, magnitude }) => (magnitude ? [A, B, magnitude] : [A, B]));
  return {
    parameters: new Map(parameters.map((each) => [each.key, each])),
    targets: [...branches.keys()],
    mergeable: true,
    ...(changesBase(config.init_lora_weights)
      ? {
          from: (initial) => {
            const value = (key: string): FloatTensor => initial.get(key)!;
            const started = all.map((branch) => {
              const { module, A, B } = branch;
              return [module, { ...branch, start: { A: value(A.key), B: value(B.key) } }] as const;
            });
            return branchMethod(new Map(started), config, trace);
          },
        }
      : {}),
    stored: (values) =>
      new Map(
        all.flatMap((branch): [string, FloatTensor][] => {
          const { A, B } = plainFactors(branch, values);
          const { magnitude } = branch;
          return [
            [branch.A.key, A],
            [branch.B.key, B],
            ...(magnitude ? [[magnitude.key, values(magnitude.key)] as [string, FloatTensor]] : []),
          ];
        }),
      ),
    unties: all.map(({ module }) => module).flatMap(readersIn(trace)),
    lowRank: (values) =>
      all.every(({ kind, magnitude }) => kind === "linear" && !magnitude)
        ? all.map((branch) => {
            const { module, scaling } = branch;
            return { module, scaling, ...plainFactors(branch, values) };
          })
        : null,
    replaced: () => new Map(),
    merge: (step) => {
      const branch = byMatrix.get(step.name);
      return branch ? mergeBranch(branch, step) : null;
    },
    decorate: (base, value, options) => decorate(base, branches, value, config.lora_dropout, options),
  };
}

function createBranch(module: Module, config: LoraConfig): Branch {
  const { name, kind } = module;
  const rank = patternValue(name, config.rank_pattern, config.r);
  const scaling = loraScaling(config, rank, patternValue(name, config.alpha_pattern, config.lora_alpha));
  const embedding = kind === "embedding";
  const [width, out] = embedding ? [module.spec.rows, module.spec.width] : [module.spec.in, module.spec.out];
  const layout = embedding ? "in,out" : (module.spec.layout ?? "out,in");
  const matrix = (embedding ? undefined : module.spec.weight) ?? `${name}.weight`;
  const at = `base_model.model.${name}`;
  const [keyA, keyB] = embedding
    ? [`${at}.lora_embedding_A`, `${at}.lora_embedding_B`]
    : [`${at}.lora_A.weight`, `${at}.lora_B.weight`];
  const slices = config.enable_lora;
  if (slices && (embedding || out % slices.length !== 0)) {
    throw new UsageError(
      `enable_lora of ${slices.length} slices does not fit ${name} with ${out} outputs. Target fused layers alone.`,
    );
  }
  if (config.use_dora && changesBase(config.init_lora_weights)) {
    throw new UsageError(
      `use_dora with init_lora_weights ${config.init_lora_weights}: DoRA needs the base as it is. Leave one of them away.`,
    );
  }
  const facts = { module: name, kind, in: width, out, layout, matrix, scaling, slices } as const;
  const shapeA = [rank * enabledCount(slices), width] as const;
  const shapeB = [slices ? (out / slices.length) * enabledCount(slices) : out, rank] as const;
  const init = branchInit(config.init_lora_weights, { ...facts, rank: shapeA[0], shapeB, keyA, keyB });
  const A: Parameter = { key: keyA, shape: shapeA, init: init.A };
  const B: Parameter = { key: keyB, shape: shapeB, init: init.B };
  const branch: Branch = { ...facts, A, B, magnitude: null, start: null };
  return config.use_dora ? { ...branch, magnitude: magnitudeOf(branch) } : branch;
}

/** The layer's output without what the branch starts from: y - s·(x·A₀ᵀ)·B₀ᵀ. */
function residual(y: Value, { start }: Branch, x: Value, alpha: number): Value {
  if (!start) return y;
  const low = matMul(x, constant(start.A), { transB: true, alpha: -alpha });
  return gemm(low, constant(start.B), y, { transB: true });
}

/** DoRA's magnitudes: at first ‖W + s·B·A‖ of each output, so that nothing changes. */
function magnitudeOf(branch: Branch): Parameter {
  const key = `base_model.model.${branch.module}.lora_magnitude_vector`;
  return {
    key,
    torchName: `${key}.weight`,
    shape: [branch.out],
    init: ({ base, value }) => {
      const matrix = base(branch.matrix, matrixShape(branch));
      const { A, B } = plainFactors(branch, value);
      return Float32Array.from(outputNorms(branch, matrix, A, B));
    },
  };
}

function decorate(
  base: Weights,
  branches: ReadonlyMap<string, Branch>,
  value: (key: string) => Value,
  dropout: number,
  options: DecorateOptions,
): Weights {
  const rate = options.dropout ? dropout : 0;
  return {
    ...base,
    linear: (module, x, spec) => {
      const branch = branches.get(module);
      if (!branch) return base.linear(module, x, spec);
      const dropped = rate === 0 ? x : dropOut(x, base.stream, module, rate);
      if (branch.magnitude) return doraLinear({ base, branch, value, options }, x, dropped, spec);
      const alpha = branch.scaling * options.weight;
      const low = matMul(dropped, value(branch.A.key), { transB: true, alpha }); // [N, r]
      return gemm(
        low,
        placedValue(branch, value(branch.B.key)),
        residual(base.linear(module, x, spec), branch, x, alpha),
        {
          transB: true,
        },
      );
    },
    embedding: (module, ids, spec) => {
      const branch = branches.get(module);
      if (!branch) return base.embedding(module, ids, spec);
      const low = gatherRows(transpose(value(branch.A.key), [1, 0]), ids); // [N, r]
      if (branch.magnitude) return doraEmbedding({ base, branch, value, options }, low, ids, spec);
      const alpha = branch.scaling * options.weight;
      return gemm(low, value(branch.B.key), base.embedding(module, ids, spec), { transB: true, alpha });
    },
  };
}
