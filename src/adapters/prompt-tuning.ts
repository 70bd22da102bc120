/**
 * Prompt tuning (Lester et al. 2021, arXiv:2104.08691): v trained embeddings stand before each row, as if they were
 * tokens. Files hold them as PEFT does: `prompt_embeddings` [v, C].
 */

import { z } from "zod";
import { UsageError } from "../errors.ts";
import { integers } from "../graph/graph.ts";
import { greaterOrEqual, where } from "../graph/ops/arithmetic.ts";
import { reshape, zerosOf } from "../graph/ops/broadcast.ts";
import { gatherRows } from "../graph/ops/gather.ts";
import { concat } from "../graph/ops/movement.ts";
import type { ArchitectureFacts } from "../models/architecture.ts";
import type { ModelTrace } from "../models/trace.ts";
import { composeMethods } from "./compose.ts";
import { type CommonConfig, commonFields, withTaskHead } from "./config-fields.ts";
import { normals } from "./lora-init.ts";
import type { BoundMethod, InitContext, Parameter } from "./method.ts";
import { PROMPT_ROOT, savedModules } from "./modules-to-save.ts";

/** Fields of PEFT's `PromptTuningConfig`. */
export interface PromptTuningConfig extends CommonConfig {
  readonly peft_type: "PROMPT_TUNING";
  /** v */
  readonly num_virtual_tokens: number;
  /** RANDOM draws standard normals; SAMPLE_VOCAB copies embeddings of random tokens, TEXT those of a text's. */
  readonly prompt_tuning_init: "RANDOM" | "SAMPLE_VOCAB" | "TEXT";
  readonly prompt_tuning_init_text: string | null;
  readonly tokenizer_name_or_path: string | null;
}

const schema = z.object({
  ...commonFields,
  peft_type: z.literal("PROMPT_TUNING").default("PROMPT_TUNING"),
  num_virtual_tokens: z.number().int().min(1).default(20),
  prompt_tuning_init: z.enum(["RANDOM", "SAMPLE_VOCAB", "TEXT"]).default("RANDOM"),
  prompt_tuning_init_text: z.string().nullable().default(null),
  tokenizer_name_or_path: z.string().nullable().default(null),
}) satisfies z.ZodType<PromptTuningConfig>;

export function promptTuningConfig(fields: Readonly<Record<string, unknown>> = {}): PromptTuningConfig {
  return schema.parse(fields);
}

export function completePromptTuning(config: PromptTuningConfig): PromptTuningConfig {
  return { ...config, modules_to_save: withTaskHead(config) };
}

export interface PromptContext {
  readonly trace: ModelTrace;
  readonly facts: ArchitectureFacts;
  readonly strict: boolean;
  /** Token ids of a text, for TEXT. */
  readonly tokenize?: (text: string) => readonly number[];
}

export function bindPromptTuning(config: PromptTuningConfig, context: PromptContext): BoundMethod {
  const { trace, facts, strict } = context;
  const [v, C] = [config.num_virtual_tokens, facts.hiddenSize];
  const table: Parameter = {
    key: "prompt_embeddings",
    torchName: "prompt_encoder.embedding.weight",
    shape: [v, C],
    init: (at) => initialPrompt(config, context, at),
  };
  const prompt: BoundMethod = {
    parameters: new Map([[table.key, table]]),
    targets: [],
    virtual: { prompt: v, prefix: 0 },
    mergeable: false,
    unties: [],
    replaced: () => new Map(),
    merge: () => null,
    decorate: (base, value) => ({
      ...base,
      embedded: (x) => {
        const { virtual, N } = base.stream;
        const rows = gatherRows(concat([zerosOf([1, C]), value(table.key)], 0), virtual); // [N, C]
        const stands = reshape(greaterOrEqual(virtual, integers([1], "i32")), [N, 1]);
        return where(stands, rows, base.embedded(x));
      },
    }),
  };
  return composeMethods([savedModules(trace, config, { strict, root: PROMPT_ROOT }), prompt]);
}

function initialPrompt(
  { num_virtual_tokens: v, prompt_tuning_init: init, prompt_tuning_init_text: text }: PromptTuningConfig,
  { trace, facts: { hiddenSize: C, vocabularySize: V }, tokenize }: PromptContext,
  { random, base }: InitContext,
): Float32Array {
  if (init === "RANDOM") return normals(v * C, 1, random);
  let ids: readonly number[] = Array.from({ length: v }, () => random.integer(V));
  if (init === "TEXT") {
    if (!text) throw new UsageError("prompt_tuning_init TEXT needs prompt_tuning_init_text.");
    if (!tokenize) throw new UsageError("prompt_tuning_init TEXT needs the model's tokenizer, and there is none.");
    ids = tokenize(text);
    if (ids.length === 0) throw new UsageError("prompt_tuning_init_text has no tokens. Give a longer text.");
  }
  const embedding = [...trace.modules.values()].find(({ kind }) => kind === "embedding")!;
  const all = base(`${embedding.name}.weight`, [V, C]);
  const table = new Float32Array(v * C);
  for (let i = 0; i < v; i++) {
    const id = ids[i % ids.length]!; // a short text is repeated
    table.set(all.subarray(id * C, (id + 1) * C), i * C);
  }
  return table;
}
