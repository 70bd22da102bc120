/**
 * Prefix tuning (Li and Liang 2021, arXiv:2101.00190): every attention layer sees v trained keys and values before a
 * row's own. Files hold them as PEFT does, flattened: `prompt_embeddings` [v, layers·2·KV·D], a layer's keys before
 * its values. A projection that PEFT trained them through is already applied there.
 */

import { z } from "zod";
import { UsageError } from "../errors.ts";
import type { Value } from "../graph/graph.ts";
import { reshape } from "../graph/ops/broadcast.ts";
import { slice, transpose } from "../graph/ops/movement.ts";
import { composeMethods } from "./compose.ts";
import { type CommonConfig, commonFields, withTaskHead } from "./config-fields.ts";
import { normals } from "./lora-init.ts";
import type { BoundMethod, Parameter } from "./method.ts";
import { PROMPT_ROOT, savedModules } from "./modules-to-save.ts";
import type { PromptContext } from "./prompt-tuning.ts";

/** Fields of PEFT's `PrefixTuningConfig`. */
export interface PrefixTuningConfig extends CommonConfig {
  readonly peft_type: "PREFIX_TUNING";
  /** v */
  readonly num_virtual_tokens: number;
  readonly num_layers: number | null;
  /** KV, and token_dim = KV·D */
  readonly num_attention_heads: number | null;
  readonly token_dim: number | null;
  readonly encoder_hidden_size: number | null;
  readonly prefix_projection: boolean;
  /** "zero" starts from zeros instead of standard normals. */
  readonly init_weights: string | null;
}

const count = z.number().int().min(1).nullable().default(null);

const schema = z.object({
  ...commonFields,
  peft_type: z.literal("PREFIX_TUNING").default("PREFIX_TUNING"),
  num_virtual_tokens: z.number().int().min(1).default(20),
  num_layers: count,
  num_attention_heads: count,
  token_dim: count,
  encoder_hidden_size: count,
  prefix_projection: z.boolean().default(false),
  init_weights: z.string().nullable().default(null),
}) satisfies z.ZodType<PrefixTuningConfig>;

export function prefixTuningConfig(fields: Readonly<Record<string, unknown>> = {}): PrefixTuningConfig {
  return schema.parse(fields);
}

/** The configuration with the model's sizes written out, as PEFT needs them to load the file. */
export function completePrefixTuning(
  config: PrefixTuningConfig,
  { facts, strict }: Pick<PromptContext, "facts" | "strict">,
): PrefixTuningConfig {
  if (strict && config.prefix_projection) {
    throw new UsageError("prefix_projection: training through a projection is not supported. Leave it false.");
  }
  const token_dim = facts.keyValueHeads * facts.headWidth;
  return {
    ...config,
    num_layers: facts.layers,
    num_attention_heads: facts.keyValueHeads,
    token_dim,
    encoder_hidden_size: config.encoder_hidden_size ?? token_dim,
    modules_to_save: withTaskHead(config),
  };
}

export function bindPrefixTuning(config: PrefixTuningConfig, { trace, facts, strict }: PromptContext): BoundMethod {
  const v = config.num_virtual_tokens;
  const width = facts.layers * 2 * facts.keyValueHeads * facts.headWidth;
  const table: Parameter = {
    key: "prompt_embeddings",
    torchName: "prompt_encoder.embedding.weight",
    shape: [v, width],
    init: ({ random }) =>
      config.init_weights === "zero" ? new Float32Array(v * width) : normals(v * width, 1, random),
  };
  const prefix: BoundMethod = {
    parameters: new Map([[table.key, table]]),
    targets: [],
    virtual: { prompt: 0, prefix: v },
    mergeable: false,
    unties: [],
    replaced: () => new Map(),
    merge: () => null,
    decorate: (base, value) => ({
      ...base,
      prefix: (layer, KV, D) => {
        const part = (number: number): Value => {
          const flat = slice(value(table.key), 1, number * KV * D, (number + 1) * KV * D);
          return transpose(reshape(flat, [v, KV, D]), [1, 0, 2]); // [KV, v, D]
        };
        return { keys: part(2 * layer), values: part(2 * layer + 1) };
      },
    }),
  };
  return composeMethods([savedModules(trace, config, { strict, root: PROMPT_ROOT }), prefix]);
}
