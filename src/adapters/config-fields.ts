/** Fields that PEFT's configurations share, and how those that have one allowed value are read and written. */

import { z } from "zod";
import { UsageError } from "../errors.ts";

/** Fields of every `adapter_config.json`. */
export interface CommonConfig {
  readonly task_type: string | null;
  readonly base_model_name_or_path: string | null;
  readonly revision: string | null;
  /** Modules trained and saved whole. */
  readonly modules_to_save: readonly string[] | null;
}

export const names: z.ZodUnion<[z.ZodString, z.ZodArray<z.ZodString>]> = z.union([z.string(), z.array(z.string())]);

const text: z.ZodDefault<z.ZodNullable<z.ZodString>> = z.string().nullable().default(null);

export const commonFields: {
  task_type: typeof text;
  base_model_name_or_path: typeof text;
  revision: typeof text;
  modules_to_save: z.ZodDefault<z.ZodNullable<z.ZodArray<z.ZodString>>>;
} = {
  task_type: text,
  base_model_name_or_path: text,
  revision: text,
  modules_to_save: z.array(z.string()).nullable().default(null),
};

/** The version whose fields and spellings are written. */
export const PEFT_VERSION = "0.21.2";

/** Names of heads that PEFT trains whole for a task, whether the model has them or not. */
export const TASK_HEADS: Readonly<Record<string, readonly string[]>> = {
  SEQ_CLS: ["classifier", "score"],
  TOKEN_CLS: ["classifier", "score"],
  QUESTION_ANS: ["qa_outputs"],
};

/** modules_to_save with the heads of the task. */
export function withTaskHead({ modules_to_save, task_type }: CommonConfig): readonly string[] | null {
  const heads = TASK_HEADS[task_type ?? ""];
  return heads ? [...new Set([...(modules_to_save ?? []), ...heads])] : modules_to_save;
}

/**
 * Throws UsageError for fields that change the computation and are set to something else than `only`. Other unknown
 * fields, of newer versions, are passed over as PEFT does.
 */
export function refuseFields(fields: Readonly<Record<string, unknown>>, only: Readonly<Record<string, unknown>>): void {
  const set = Object.entries(only).filter(([name, value]) => {
    const given = fields[name];
    return given !== undefined && given !== null && given !== false && !isEmpty(given) && given !== value;
  });
  if (set.length === 0) return;
  const list = set.map(([name]) => `${name} ${JSON.stringify(fields[name])}`).join(", ");
  throw new UsageError(
    `${list}: not supported, and without it the adapter would compute something else. Train the adapter without it.`,
  );
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
