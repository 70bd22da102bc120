/**
 * LoRA (Hu et al. 2021, arXiv:2106.09685, equation 3) as a decoration of Weights: beside a targeted linear layer
 * y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ with A [r, in], B [out, r] and s = α / r; W stays frozen.
 * Layout, names and initial values as PEFT's `tuners/lora/layer.py`.
 */

import { scalar, type Value } from "../graph/graph.ts";
import { scale, where } from "../graph/ops/arithmetic.ts";
import { gemm, matMul } from "../graph/ops/matmul.ts";
import type { Stream } from "../models/stream.ts";
import type { ModelTrace } from "../models/trace.ts";
import type { LinearSpec, Weights } from "../models/weights.ts";
import { hash2, hashText, type Random } from "../tensor/random.ts";
import { type LoraConfig, loraScaling } from "./lora-config.ts";
import { addProduct, transposed } from "./low-rank.ts";
import type { BoundMethod, DecorateOptions, MergeStep, Parameter } from "./method.ts";
import { patternValue, selectTargets, type TargetRules } from "./targets.ts";

/** The rules of a configuration whose default targets have been filled in. */
function rulesOf(config: LoraConfig): TargetRules {
  return { ...config, target_modules: config.target_modules ?? [] };
}

interface Branch {
  readonly module: string;
  readonly spec: LinearSpec;
  readonly A: Parameter;
  readonly B: Parameter;
  readonly scaling: number;
}

/** Binds a configuration to a model. `strict` as for selectTargets. */
export function bindLora(
  config: LoraConfig,
  trace: ModelTrace,
  { strict = true }: { strict?: boolean } = {},
): BoundMethod {
  const branches = new Map<string, Branch>();
  for (const module of selectTargets(trace, rulesOf(config), { strict })) {
    const rank = patternValue(module.name, config.rank_pattern, config.r);
    const alpha = patternValue(module.name, config.alpha_pattern, config.lora_alpha);
    if (module.kind === "linear") {
      branches.set(module.name, linearBranch(module.name, module.spec, rank, loraScaling(config, rank, alpha)));
    }
  }
  const parameters = new Map([...branches.values()].flatMap(({ A, B }) => [A, B]).map((each) => [each.key, each]));
  return {
    parameters,
    targets: [...branches.keys()],
    mergeable: true,
    unties: [...branches.values()].flatMap(({ module, spec }) => (spec.weight ? [module] : [])),
    replaced: () => new Map(),
    merge: (step) => {
      const branch = branches.get(step.name.replace(/\.weight$/, ""));
      return branch && step.name.endsWith(".weight") ? mergeBranch(branch, step) : null;
    },
    decorate: (base, value, options) => decorate(base, branches, value, config.lora_dropout, options),
  };
}

function linearBranch(module: string, spec: LinearSpec, rank: number, scaling: number): Branch {
  const key = `base_model.model.${module}`;
  const bound = 1 / Math.sqrt(spec.in); // Kaiming uniform with a = √5, PyTorch's default for Linear
  return {
    module,
    spec,
    scaling,
    A: {
      key: `${key}.lora_A.weight`,
      shape: [rank, spec.in],
      init: (random) => uniform(rank * spec.in, bound, random),
    },
    B: { key: `${key}.lora_B.weight`, shape: [spec.out, rank], init: () => new Float32Array(spec.out * rank) },
  };
}

/** W + w·s·B·A, in the layout that the checkpoint stores W in. */
function mergeBranch({ spec, A, B, scaling }: Branch, { tensor, values, weight }: MergeStep): Float32Array {
  const [a, b] = [values(A.key), values(B.key)];
  return spec.layout === "in,out"
    ? addProduct(tensor, transposed(a), transposed(b), weight * scaling)
    : addProduct(tensor, b, a, weight * scaling);
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
      const y = base.linear(module, x, spec);
      const branch = branches.get(module);
      if (!branch) return y;
      const dropped = rate === 0 ? x : dropOut(x, base.stream, module, rate);
      const low = matMul(dropped, value(branch.A.key), { transB: true, alpha: branch.scaling * options.weight }); // [N, r]
      return gemm(low, value(branch.B.key), y, { transB: true });
    },
  };
}

/**
 * x with a share of `rate` of its elements set to 0 and the rest scaled up, drawn by counter: the mask depends only on
 * the batch's draw, the module and the element's place, so a resumed run repeats it.
 */
export function dropOut(x: Value, stream: Stream, module: string, rate: number): Value {
  const count = x.shape.reduce((a, b) => a * b, 1);
  const keep = stream.derive(`dropout.${module}`, x.shape, "bool", ({ draw }) => ({
    dtype: "bool",
    shape: x.shape,
    data: keepMask(count, rate, hash2(draw, hashText(module))),
  }));
  return where(keep, scale(x, 1 / (1 - rate)), scalar(0));
}

/** 1 with probability 1 - rate, else 0; xorshift32 from `seed`. */
function keepMask(count: number, rate: number, seed: number): Uint8Array {
  const mask = new Uint8Array(count);
  const threshold = Math.round(rate * 2 ** 32);
  let state = seed | 1;
  for (let i = 0; i < count; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    mask[i] = state >>> 0 >= threshold ? 1 : 0;
  }
  return mask;
}

function uniform(count: number, bound: number, random: Random): Float32Array {
  return Float32Array.from({ length: count }, () => (2 * random.uniform() - 1) * bound);
}
