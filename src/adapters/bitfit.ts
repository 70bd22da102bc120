/**
 * BitFit (Ben Zaken et al. 2022, arXiv:2106.10199): only the biases are trained. PEFT has no such method: the folder
 * has its layout, with `peft_type` "BITFIT" and keys `base_model.model.<tensor>`.
 */

import { z } from "zod";
import { UsageError } from "../errors.ts";
import type { ModelTrace } from "../models/trace.ts";
import { composeMethods } from "./compose.ts";
import { type CommonConfig, commonFields, withTaskHead } from "./config-fields.ts";
import type { BoundMethod, Parameter } from "./method.ts";
import { savedModules, savedTensors } from "./modules-to-save.ts";
import { wholeTensors } from "./whole.ts";

export interface BitFitConfig extends CommonConfig {
  readonly peft_type: "BITFIT";
}

const schema = z.object({
  ...commonFields,
  peft_type: z.literal("BITFIT").default("BITFIT"),
}) satisfies z.ZodType<BitFitConfig>;

export function bitFitConfig(fields: Readonly<Record<string, unknown>> = {}): BitFitConfig {
  return schema.parse(fields);
}

export function completeBitFit(config: BitFitConfig): BitFitConfig {
  return { ...config, modules_to_save: withTaskHead(config) };
}

export function bindBitFit(
  config: BitFitConfig,
  trace: ModelTrace,
  { strict, taken = () => false }: { readonly strict: boolean; taken?(module: string): boolean },
): BoundMethod {
  const saved = savedTensors(config.modules_to_save ?? []);
  const covers = (module: string): boolean => saved.covers(module) || taken(module);
  const tensors = new Map<string, Parameter>();
  for (const [name, shape] of trace.tensors) {
    if (!/(^|[._])bias$/.test(name) || covers(name.slice(0, name.lastIndexOf(".")))) continue;
    tensors.set(name, { key: `base_model.model.${name}`, shape, init: null, checkpoint: name });
  }
  if (tensors.size === 0) throw new UsageError("BitFit trains biases, and this model has none. Use another method.");
  const targets = [...tensors.keys()].map((name) => name.replace(/\.bias$/, ""));
  return composeMethods([savedModules(trace, config, { strict }), wholeTensors({ tensors, targets })]);
}
