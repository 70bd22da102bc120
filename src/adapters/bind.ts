/** From a method's configuration to the method bound to a model: the table of methods. */

import { ModelError, UsageError } from "../errors.ts";
import type { ArchitectureFacts } from "../models/architecture.ts";
import type { ModelTrace } from "../models/trace.ts";
import { type BitFitConfig, bindBitFit, bitFitConfig, completeBitFit } from "./bitfit.ts";
import { bindIa3, completeIa3, type Ia3Config, ia3Config } from "./ia3.ts";
import { bindLora } from "./lora.ts";
import { completeLora, LORA_FIXED, type LoraConfig, loraConfig, storedConfig } from "./lora-config.ts";
import { bindLycoris } from "./lycoris.ts";
import {
  completeLycoris,
  LOHA_FIXED,
  LOKR_FIXED,
  type LoHaConfig,
  type LoKrConfig,
  lohaConfig,
  lokrConfig,
} from "./lycoris-config.ts";
import type { BoundMethod } from "./method.ts";
import {
  bindPrefixTuning,
  completePrefixTuning,
  type PrefixTuningConfig,
  prefixTuningConfig,
} from "./prefix-tuning.ts";
import {
  bindPromptTuning,
  completePromptTuning,
  type PromptTuningConfig,
  promptTuningConfig,
} from "./prompt-tuning.ts";

/** The configuration of any method: PEFT's fields, `peft_type` tells which. */
export type AdapterConfig =
  | LoraConfig
  | LoHaConfig
  | LoKrConfig
  | Ia3Config
  | PromptTuningConfig
  | PrefixTuningConfig
  | BitFitConfig;

export interface BindContext {
  readonly trace: ModelTrace;
  readonly facts: ArchitectureFacts;
  readonly modelType: string;
  /** The architecture's default targets, for a configuration that names none. */
  readonly defaultTargets: readonly string[];
  /** False for files trained elsewhere: entries of target_modules that match nothing pass. */
  readonly strict: boolean;
  /** Whether a module's tensors belong to another part of a composed adapter. */
  taken?(module: string): boolean;
  /** Token ids of a text, for prompts that start from one. */
  readonly tokenize?: (text: string) => readonly number[];
}

interface MethodEntry<C extends AdapterConfig> {
  parse(fields: Readonly<Record<string, unknown>>): C;
  /** Fills in default targets and the like. */
  complete(config: C, context: BindContext): C;
  bind(config: C, context: BindContext): BoundMethod;
  /** Fields beside the configuration's own that PEFT writes. */
  readonly fixed: Readonly<Record<string, unknown>>;
}

const PROMPT_FIXED = { auto_mapping: null, num_transformer_submodules: 1 };

const METHODS: { readonly [C in AdapterConfig as C["peft_type"]]: MethodEntry<C> } = {
  LORA: {
    parse: loraConfig,
    complete: completeLora,
    bind: (config, { trace, strict }) => bindLora(config, trace, { strict }),
    fixed: LORA_FIXED,
  },
  IA3: {
    parse: ia3Config,
    complete: completeIa3,
    bind: (config, { trace, strict }) => bindIa3(config, trace, { strict }),
    fixed: { auto_mapping: null },
  },
  LOHA: {
    parse: lohaConfig,
    complete: completeLycoris,
    bind: (config, { trace, strict }) => bindLycoris(config, trace, { strict }),
    fixed: LOHA_FIXED,
  },
  LOKR: {
    parse: lokrConfig,
    complete: completeLycoris,
    bind: (config, { trace, strict }) => bindLycoris(config, trace, { strict }),
    fixed: LOKR_FIXED,
  },
  PROMPT_TUNING: {
    parse: promptTuningConfig,
    complete: completePromptTuning,
    bind: bindPromptTuning,
    fixed: { ...PROMPT_FIXED, tokenizer_kwargs: null, num_layers: null, num_attention_heads: null, token_dim: null },
  },
  PREFIX_TUNING: {
    parse: prefixTuningConfig,
    complete: completePrefixTuning,
    bind: bindPrefixTuning,
    fixed: PROMPT_FIXED,
  },
  BITFIT: {
    parse: bitFitConfig,
    complete: completeBitFit,
    bind: (config, { trace, ...options }) => bindBitFit(config, trace, options),
    fixed: {},
  },
};

function methodOf(type: unknown, where: string): MethodEntry<AdapterConfig> {
  const method = (METHODS as unknown as Readonly<Record<string, MethodEntry<AdapterConfig>>>)[String(type)];
  if (method) return method;
  throw new ModelError(
    `${where}: peft_type ${JSON.stringify(type)} is not known. Known: ${knownMethods().join(", ")}.`,
  );
}

/** Every `peft_type` that can be read. */
export function knownMethods(): readonly string[] {
  return Object.keys(METHODS);
}

/** Reads the fields of an adapter_config.json; throws UsageError naming every field of a wrong type. */
export function parseAdapterConfig(fields: Readonly<Record<string, unknown>>, where: string): AdapterConfig {
  const method = methodOf(fields["peft_type"] ?? "LORA", where);
  try {
    return method.parse(fields);
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(`${where}: ${error.message}`);
    const issues = (error as { issues?: readonly { path: readonly PropertyKey[]; message: string }[] }).issues;
    if (!issues) throw error;
    throw new UsageError(`${where}: ${issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ")}`);
  }
}

/** The configuration with what it leaves to the architecture and the task written out. */
export function completeConfig(config: AdapterConfig, context: BindContext): AdapterConfig {
  return methodOf(config.peft_type, "adapter").complete(config, context);
}

export function bindMethod(config: AdapterConfig, context: BindContext): BoundMethod {
  return methodOf(config.peft_type, "adapter").bind(completeConfig(config, context), context);
}

/** Every field that PEFT writes for a configuration. */
export function writtenFields(config: AdapterConfig): Record<string, unknown> {
  const { enable_lora: _own, ...fields } = {
    enable_lora: null,
    ...(config.peft_type === "LORA" ? storedConfig(config) : config),
  };
  return { ...methodOf(config.peft_type, "adapter").fixed, ...fields };
}
