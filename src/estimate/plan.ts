/** From what a user asks for to a configuration that can be bound to a model. */

import { type AdapterConfig, parseAdapterConfig } from "../adapters/bind.ts";
import { UsageError } from "../errors.ts";
import { headOf, tasksOf } from "../models/architecture.ts";
import { checkpointTask, type Model } from "../models/open.ts";
import { peftTask } from "../program/setup.ts";
import type { Task } from "../task.ts";

/** The task asked for, else the checkpoint's, else the first that the architecture has a head for. */
export function planTask({ name, architecture, rawConfig }: Model, asked: Task | null): Task {
  const heads = tasksOf(architecture);
  const task = asked ?? checkpointTask(rawConfig) ?? heads[0]!;
  if (headOf(architecture, task)) return task;
  throw new UsageError(`--task ${task}: ${name} has no such head. It has ${heads.join(", ")}.`);
}

/**
 * The adapter's configuration; null for full fine-tuning. Modules may be named by the letters of the paper where
 * the architecture's own names are longer: q, k, v and o.
 */
export function planConfig(
  model: Model,
  task: Task,
  method: string,
  fields: Readonly<Record<string, unknown>>,
): AdapterConfig | null {
  if (method === "full") return null;
  const peft_type = method.toUpperCase().replaceAll("-", "_");
  return parseAdapterConfig(
    { ...fields, ...fusedSlices(model, fields), peft_type, task_type: peftTask(task) },
    `method ${method}`,
  );
}

/** GPT-2's c_attn holds q, k and v: `--target-modules q,v` is the paper's setting, loralib's enable_lora. */
function fusedSlices(model: Model, fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const names = fields["target_modules"];
  const letters = ["q", "k", "v"];
  if (model.rawConfig["model_type"] !== "gpt2" || !Array.isArray(names)) return {};
  if (names.length === 0 || !names.every((name) => letters.includes(String(name)))) return {};
  return { target_modules: ["c_attn"], enable_lora: letters.map((letter) => names.includes(letter)) };
}
