/** From a method's configuration to the method bound to a model: the table of methods. */

import { ModelError, UsageError } from "../errors.ts";
import type { ModelTrace } from "../models/trace.ts";
import { bindLora } from "./lora.ts";
import { completeLora, type LoraConfig, loraConfig } from "./lora-config.ts";
import type { BoundMethod } from "./method.ts";

/** The configuration of any method: PEFT's fields, `peft_type` tells which. */
export type AdapterConfig = LoraConfig;

export interface BindContext {
  readonly trace: ModelTrace;
  /** The architecture's default targets, for a configuration that names none. */
  readonly defaultTargets: readonly string[];
  /** False for files trained elsewhere: entries of target_modules that match nothing pass. */
  readonly strict: boolean;
}

interface MethodEntry {
  parse(fields: Readonly<Record<string, unknown>>): AdapterConfig;
  /** Fills in default targets and the like. */
  complete(config: AdapterConfig, context: BindContext): AdapterConfig;
  bind(config: AdapterConfig, context: BindContext): BoundMethod;
}

const METHODS: Readonly<Record<string, MethodEntry>> = {
  LORA: {
    parse: loraConfig,
    complete: completeLora,
    bind: (config, { trace, strict }) => bindLora(config, trace, { strict }),
  },
};

/** Every `peft_type` that can be read. */
export function knownMethods(): readonly string[] {
  return Object.keys(METHODS);
}

/** Reads the fields of an adapter_config.json; throws UsageError naming every field of a wrong type. */
export function parseAdapterConfig(fields: Readonly<Record<string, unknown>>, where: string): AdapterConfig {
  const type = fields["peft_type"] ?? "LORA";
  const method = METHODS[String(type)];
  if (!method)
    throw new ModelError(
      `${where}: peft_type ${JSON.stringify(type)} is not known. Known: ${knownMethods().join(", ")}.`,
    );
  try {
    return method.parse(fields);
  } catch (error) {
    const issues = (error as { issues?: readonly { path: readonly PropertyKey[]; message: string }[] }).issues;
    if (!issues) throw error;
    throw new UsageError(`${where}: ${issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ")}`);
  }
}

/** The configuration with what it leaves to the architecture and the task written out. */
export function completeConfig(config: AdapterConfig, context: BindContext): AdapterConfig {
  return METHODS[config.peft_type]!.complete(config, context);
}

export function bindMethod(config: AdapterConfig, context: BindContext): BoundMethod {
  return METHODS[config.peft_type]!.bind(completeConfig(config, context), context);
}
