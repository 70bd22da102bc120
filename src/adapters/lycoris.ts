/**
 * LyCORIS' two (Yeh et al. 2023, arXiv:2309.14859) for linear layers, y = x·(W + s·Δ)ᵀ:
 * LoHa, Δ = (A₁·B₁) ∘ (A₂·B₂), and LoKr, Δ = C ⊗ D with either factor whole or itself a low-rank product.
 * Names, shapes and initial values as PEFT's `tuners/loha/layer.py` and `tuners/lokr/layer.py`.
 */

import { UsageError } from "../errors.ts";
import type { Value } from "../graph/graph.ts";
import { add, mul } from "../graph/ops/arithmetic.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { matMul } from "../graph/ops/matmul.ts";
import { transpose } from "../graph/ops/movement.ts";
import type { ModelTrace, Module } from "../models/trace.ts";
import type { LinearSpec } from "../models/weights.ts";
import { sizeOf } from "../tensor/shape.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import { composeMethods } from "./compose.ts";
import { uniforms } from "./lora-init.ts";
import { addProduct, productRows } from "./low-rank.ts";
import { factorization, type LoHaConfig, type LoKrConfig } from "./lycoris-config.ts";
import type { BoundMethod, Parameter } from "./method.ts";
import { readersIn, savedModules, savedTensors } from "./modules-to-save.ts";
import { patternValue, selectTargets } from "./targets.ts";

/** One layer's update: its tensors, what it adds to the output, and Δ itself, row by row. */
interface Update {
  readonly parameters: readonly Parameter[];
  /** s·w·x·Δᵀ [N, out] */
  output(x: Value, value: (key: string) => Value, weight: number): Value;
  merge(tensor: Float32Array, values: (key: string) => FloatTensor, weight: number): Float32Array;
}

export function bindLycoris(
  config: LoHaConfig | LoKrConfig,
  trace: ModelTrace,
  { strict }: { readonly strict: boolean },
): BoundMethod {
  const { covers } = savedTensors(config.modules_to_save ?? []);
  const rules = { ...config, target_modules: config.target_modules ?? [] };
  const targets = selectTargets(trace, rules, { strict }).filter(({ name }) => !covers(name));
  const updates = new Map(targets.map((module) => [module.name, updateOf(module, config)]));
  return composeMethods([savedModules(trace, config, { strict }), updatesMethod(updates, trace)]);
}

function updateOf(module: Module, config: LoHaConfig | LoKrConfig): Update {
  const { name, kind, spec } = module;
  const method = config.peft_type === "LOHA" ? "LoHa" : "LoKr";
  if (kind !== "linear" || spec.layout === "in,out") {
    const why = kind === "linear" ? "is a transposed layer (Conv1D)" : "is an embedding";
    throw new UsageError(`${method} adapts linear layers; ${name} ${why}, which PEFT cannot adapt so. Use LoRA there.`);
  }
  const rank = patternValue(name, config.rank_pattern, config.r);
  const scaling = patternValue(name, config.alpha_pattern, config.alpha) / rank;
  return config.peft_type === "LOHA"
    ? hadamard(name, spec, rank, scaling, config)
    : kronecker(name, spec, rank, scaling, config);
}

function updatesMethod(updates: ReadonlyMap<string, Update>, trace: ModelTrace): BoundMethod {
  const parameters = [...updates.values()].flatMap((update) => update.parameters);
  return {
    parameters: new Map(parameters.map((each) => [each.key, each])),
    targets: [...updates.keys()],
    mergeable: true,
    unties: [...updates.keys()].flatMap(readersIn(trace)),
    replaced: () => new Map(),
    merge: ({ name, tensor, values, weight }) =>
      (name.endsWith(".weight") && updates.get(name.slice(0, -".weight".length))?.merge(tensor, values, weight)) ||
      null,
    decorate: (base, value, { weight }) => ({
      ...base,
      linear: (module, x, spec) => {
        const y = base.linear(module, x, spec);
        const update = updates.get(module);
        return update ? add(y, update.output(x, value, weight)) : y;
      },
    }),
  };
}

/** A parameter with PyTorch's values for new layers, U(±1/√columns), or zeros. */
function parameterOf(module: string, part: string, shape: readonly [number, number], zero: boolean): Parameter {
  return {
    key: `base_model.model.${module}.${part}`,
    shape,
    init: ({ random }) =>
      zero ? new Float32Array(sizeOf(shape)) : uniforms(sizeOf(shape), 1 / Math.sqrt(shape[1]), random),
  };
}

function hadamard(name: string, spec: LinearSpec, r: number, scaling: number, config: LoHaConfig): Update {
  const A1 = parameterOf(name, "hada_w1_a", [spec.out, r], false);
  const B1 = parameterOf(name, "hada_w1_b", [r, spec.in], false);
  const A2 = parameterOf(name, "hada_w2_a", [spec.out, r], false);
  const B2 = parameterOf(name, "hada_w2_b", [r, spec.in], config.init_weights);
  return {
    parameters: [A1, B1, A2, B2],
    output: (x, value, weight) => {
      const first = matMul(value(A1.key), value(B1.key)); // [out, in]
      const second = matMul(value(A2.key), value(B2.key));
      return matMul(x, mul(first, second), { transB: true, alpha: scaling * weight });
    },
    merge: (tensor, values, weight) => {
      const first = new Float64Array(tensor.length);
      productRows(values(A1.key), values(B1.key), scaling * weight, (row, line) => first.set(line, row * spec.in));
      const merged = new Float32Array(tensor.length);
      productRows(values(A2.key), values(B2.key), 1, (row, line) => {
        for (let i = 0, at = row * spec.in; i < line.length; i++, at++) {
          merged[at] = tensor[at]! + first[at]! * line[i]!;
        }
      });
      return merged;
    },
  };
}

/** A factor of LoKr: whole, or a product of two. */
interface Factor {
  readonly shape: readonly [number, number];
  readonly parts: readonly Parameter[];
}

function kronecker(name: string, spec: LinearSpec, r: number, scaling: number, config: LoKrConfig): Update {
  const [a, b] = factorization(spec.out, config.decompose_factor);
  const [c, d] = factorization(spec.in, config.decompose_factor);
  const { init_weights: init } = config;
  const wholeFirst = !(config.decompose_both && r < Math.max(a, c) / 2);
  const wholeSecond = !(r < Math.max(b, d) / 2);
  const part = (suffix: string, shape: readonly [number, number], zero: boolean): Parameter =>
    parameterOf(name, `lokr_${suffix}`, shape, zero);
  const first: Factor = {
    shape: [a, c],
    parts: wholeFirst
      ? [part("w1", [a, c], init === true)]
      : [part("w1_a", [a, r], init === true), part("w1_b", [r, c], false)],
  };
  const second: Factor = {
    shape: [b, d],
    parts: wholeSecond
      ? [part("w2", [b, d], init === "lycoris")]
      : [part("w2_a", [b, r], false), part("w2_b", [r, d], init === "lycoris")],
  };
  return {
    parameters: [...first.parts, ...second.parts],
    // (C ⊗ D)·x: D over the inner index, then C over the outer one; the product itself never exists.
    output: (x, value, weight) => {
      const N = x.shape[0]!;
      const [C, D] = [factorValue(first, value), factorValue(second, value)];
      const inner = matMul(reshape(x, [N * c, d]), D, { transB: true, alpha: scaling * weight }); // [N·c, b]
      const turned = reshape(transpose(reshape(inner, [N, c, b]), [0, 2, 1]), [N * b, c]);
      const outer = matMul(turned, C, { transB: true }); // [N·b, a]
      return reshape(transpose(reshape(outer, [N, b, a]), [0, 2, 1]), [N, spec.out]);
    },
    merge: (tensor, values, weight) => {
      const [C, D] = [factorNumbers(first, values), factorNumbers(second, values)];
      return tensor.map((each, i) => {
        const [row, column] = [Math.floor(i / spec.in), i % spec.in];
        const outer = C[Math.floor(row / b) * c + Math.floor(column / d)]!;
        return each + scaling * weight * outer * D[(row % b) * d + (column % d)]!;
      });
    },
  };
}

function factorValue({ parts: [one, two] }: Factor, value: (key: string) => Value): Value {
  return two ? matMul(value(one!.key), value(two.key)) : value(one!.key);
}

function factorNumbers({ shape, parts: [one, two] }: Factor, values: (key: string) => FloatTensor): Float32Array {
  if (!two) return values(one!.key).data;
  return addProduct(new Float32Array(sizeOf(shape)), values(one!.key), values(two.key), 1);
}
