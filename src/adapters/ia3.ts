/**
 * (IA)³ (Liu et al. 2022, arXiv:2205.05638): one learned factor a channel, on the output of attention's layers and on
 * the input of feed-forward ones: y = l ∘ (x·Wᵀ + b), or y = (l ∘ x)·Wᵀ + b.
 * Names and shapes as PEFT's `tuners/ia3/layer.py`: `ia3_l` [out, 1] or [1, in], ones at first.
 */

import { z } from "zod";
import { UsageError } from "../errors.ts";
import type { Value } from "../graph/graph.ts";
import { mul, scale, shift } from "../graph/ops/arithmetic.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import type { ModelTrace, Module } from "../models/trace.ts";
import { composeMethods } from "./compose.ts";
import { type CommonConfig, commonFields, names, withTaskHead } from "./config-fields.ts";
import type { BoundMethod, MergeStep, Parameter } from "./method.ts";
import { readersIn, savedModules, savedTensors } from "./modules-to-save.ts";
import { matches, selectTargets } from "./targets.ts";

/** Fields of PEFT's `IA3Config`. */
export interface Ia3Config extends CommonConfig {
  readonly peft_type: "IA3";
  readonly target_modules: string | readonly string[] | null;
  readonly exclude_modules: string | readonly string[] | null;
  /** Targets whose input is scaled instead of their output. */
  readonly feedforward_modules: string | readonly string[] | null;
  readonly fan_in_fan_out: boolean;
  readonly init_ia3_weights: boolean;
}

const schema = z.object({
  ...commonFields,
  peft_type: z.literal("IA3").default("IA3"),
  target_modules: names.nullable().default(null),
  exclude_modules: names.nullable().default(null),
  feedforward_modules: names.nullable().default(null),
  fan_in_fan_out: z.boolean().default(false),
  init_ia3_weights: z.boolean().default(true),
}) satisfies z.ZodType<Ia3Config>;

export function ia3Config(fields: Readonly<Record<string, unknown>> = {}): Ia3Config {
  return schema.parse(fields);
}

/** PEFT's defaults (`utils/constants.py`): targets, of which the last is feed-forward. */
const TARGETS: Readonly<Record<string, readonly string[]>> = {
  gpt2: ["c_attn", "mlp.c_proj"],
  gpt_neox: ["query_key_value", "dense_4h_to_h"],
  llama: ["k_proj", "v_proj", "down_proj"],
  mistral: ["k_proj", "v_proj", "down_proj"],
  qwen2: ["q_proj", "v_proj", "down_proj"],
  qwen3: ["q_proj", "v_proj", "down_proj"],
  gemma: ["q_proj", "v_proj", "down_proj"],
  gemma2: ["q_proj", "v_proj", "down_proj"],
  gemma3_text: ["q_proj", "v_proj", "down_proj"],
  phi: ["q_proj", "v_proj", "fc2"],
  bert: ["key", "value", "output.dense"],
  roberta: ["key", "value", "output.dense"],
  deberta: ["in_proj", "output.dense"],
  "deberta-v2": ["key_proj", "value_proj", "output.dense"],
};

/** The configuration with the model's default targets and the task's head written out. */
export function completeIa3(
  config: Ia3Config,
  { modelType, trace }: { readonly modelType: string; readonly trace: ModelTrace },
): Ia3Config {
  const layouts = [...trace.modules.values()].map((module) => module.kind === "linear" && module.spec.layout);
  const defaults = TARGETS[modelType];
  if (!config.target_modules && !defaults) {
    throw new UsageError(`IA3 has no default targets for ${modelType}. Name target_modules and feedforward_modules.`);
  }
  return {
    ...config,
    target_modules: config.target_modules ?? defaults!,
    feedforward_modules: config.feedforward_modules ?? (config.target_modules ? [] : defaults!.slice(-1)),
    modules_to_save: withTaskHead(config),
    fan_in_fan_out: config.fan_in_fan_out || layouts.includes("in,out"),
  };
}

interface Scaled {
  readonly parameter: Parameter;
  readonly feedforward: boolean;
  /** Whether the stored matrix has one row an input. */
  readonly inputRows: boolean;
}

export function bindIa3(config: Ia3Config, trace: ModelTrace, { strict }: { readonly strict: boolean }): BoundMethod {
  const { covers } = savedTensors(config.modules_to_save ?? []);
  const targets = selectTargets(trace, { ...config, target_modules: config.target_modules ?? [] }, { strict });
  const scaled = new Map<string, Scaled>();
  for (const module of targets) {
    if (!covers(module.name)) scaled.set(module.name, scaledModule(module, config));
  }
  return composeMethods([savedModules(trace, config, { strict }), factors(scaled, trace)]);
}

function scaledModule(module: Module, config: Ia3Config): Scaled {
  const { name, kind, spec } = module;
  if (kind !== "linear") throw new UsageError(`IA3 scales linear layers; ${name} is an embedding. Exclude it.`);
  const feedforward = matches(name, config.feedforward_modules ?? []);
  const count = feedforward ? spec.in : spec.out;
  return {
    feedforward,
    inputRows: spec.layout === "in,out",
    parameter: {
      key: `base_model.model.${name}.ia3_l`,
      shape: feedforward ? [1, count] : [count, 1],
      init: ({ random }) => Float32Array.from({ length: count }, () => (config.init_ia3_weights ? 1 : random.normal())),
    },
  };
}

function factors(scaled: ReadonlyMap<string, Scaled>, trace: ModelTrace): BoundMethod {
  return {
    parameters: new Map([...scaled.values()].map(({ parameter }) => [parameter.key, parameter])),
    targets: [...scaled.keys()],
    mergeable: true,
    unties: [...scaled.keys()].flatMap(readersIn(trace)),
    replaced: () => new Map(),
    merge: (step) => {
      const dot = step.name.lastIndexOf(".");
      const target = scaled.get(step.name.slice(0, dot));
      return target ? mergeFactors(step, step.name.slice(dot + 1), target) : null;
    },
    // Whatever lies below in the same layer is scaled with it; weight w takes 1 + w·(l - 1) instead of l.
    decorate: (base, value, { weight }) => ({
      ...base,
      linear: (module, x, spec) => {
        const target = scaled.get(module);
        if (!target) return base.linear(module, x, spec);
        const row: Value = reshape(value(target.parameter.key), [1, target.feedforward ? spec.in : spec.out]);
        const factor = weight === 1 ? row : shift(scale(row, weight), 1 - weight);
        return target.feedforward
          ? base.linear(module, mul(x, factor), spec)
          : mul(base.linear(module, x, spec), factor);
      },
    }),
  };
}

function mergeFactors(
  { tensor, values, weight }: MergeStep,
  part: string,
  { parameter, feedforward, inputRows }: Scaled,
): Float32Array | null {
  if (part !== "weight" && (part !== "bias" || feedforward)) return null;
  const data = values(parameter.key).data;
  const factor = (channel: number): number => 1 + weight * (data[channel]! - 1);
  if (part === "bias") return tensor.map((value, i) => value * factor(i));
  const columns = feedforward === inputRows ? tensor.length / data.length : data.length;
  const byRow = feedforward === inputRows;
  return tensor.map((value, i) => value * factor(byRow ? Math.floor(i / columns) : i % columns));
}
