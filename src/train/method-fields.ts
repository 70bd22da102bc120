/** The adapter's configuration as options, files and facts of the base say it, and the options that go with no such one. */

import { existsSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { type AdapterConfig, parseAdapterConfig } from "../adapters/bind.ts";
import { CONFIG_FILE, type PeftFolder } from "../adapters/peft-folder.ts";
import { UsageError } from "../errors.ts";
import { readJsonObject } from "../files/json-file.ts";
import { snapshotName } from "../files/snapshot-path.ts";
import { type Base, peftTask, type Setup } from "../program/setup.ts";
import type { TrainOptions } from "./options.ts";

/** Options that would be passed over in silence. */
export function refuseFields(options: TrainOptions, config: AdapterConfig, folder: PeftFolder | null): void {
  const held = config as unknown as Readonly<Record<string, unknown>>;
  const type = options.method && peftType(options.method);
  if (folder && type && type !== config.peft_type) {
    throw new UsageError(
      `method ${options.method}: ${folder.path} holds a ${config.peft_type} adapter. Leave --method away.`,
    );
  }
  for (const [name, value] of Object.entries(options.adapterFields)) {
    if (!(name in held) && !furtherConfigs(options, config).some((further) => name in further))
      throw new UsageError(`${name}: ${config.peft_type} has no such option. Leave it away.`);
    if (folder && JSON.stringify(held[name]) !== JSON.stringify(value)) {
      throw new UsageError(
        `${name}: found ${JSON.stringify(value)}, but ${folder.path} was made with ${JSON.stringify(held[name])}. Leave it away, or train a new adapter without --init-adapter.`,
      );
    }
  }
}

/** The options with LoHa's and LoKr's name of alpha, which PEFT spells unlike LoRA's. */
export function withAlpha(options: TrainOptions): TrainOptions {
  const { method, adapterFields } = options;
  if (!/^lo(ha|kr)\b/i.test(method ?? "") || !("lora_alpha" in adapterFields)) return options;
  const { lora_alpha: alpha, ...rest } = adapterFields;
  return { ...options, adapterFields: { ...rest, alpha } };
}

/** Configurations of the methods behind a "+": what flags set and the first method does not have is theirs. */
export function furtherConfigs({ method, adapterFields, model }: TrainOptions, first: AdapterConfig): AdapterConfig[] {
  const theirs = Object.entries(adapterFields).filter(([name]) => !(name in first));
  const types = (method ?? "").split("+").slice(1).map(peftType);
  const repeated = types.find((type, i) => type === first.peft_type || types.indexOf(type) !== i);
  if (repeated) throw new UsageError(`method ${method}: ${repeated} is named twice. Name each method once.`);
  return types.map((peft_type) =>
    parseAdapterConfig(
      { ...Object.fromEntries(theirs), peft_type, base_model_name_or_path: snapshotName(model)?.id ?? model },
      `method ${method}`,
    ),
  );
}

export function refuseForFull(
  { adapterFields, initAdapter, adapterConfig, precision, out }: TrainOptions,
  { model }: Base,
): void {
  const given = [
    ...Object.keys(adapterFields),
    ...(initAdapter === null ? [] : ["--init-adapter"]),
    ...(adapterConfig === null ? [] : ["--adapter-config"]),
    ...(precision === "fp32" ? [] : [`--precision ${precision}`]),
  ];
  if (given.length > 0) {
    throw new UsageError(
      `${given.join(", ")}: full fine-tuning has no adapter and no frozen base. Leave it away, or choose another --method.`,
    );
  }
  if (existsSync(out) && realpathSync(out) === realpathSync(model.folder)) {
    throw new UsageError(`--out ${out} is the model itself. Choose another folder.`);
  }
}

function peftType(method: string): string {
  return method.toUpperCase().replaceAll("-", "_");
}

/** The configuration's fields: those of --adapter-config, then those that flags set. */
export function methodFields(options: TrainOptions): Record<string, unknown> {
  const path = options.adapterConfig;
  const fromFile =
    path === null
      ? {}
      : readJsonObject(statSync(path, { throwIfNoEntry: false })?.isDirectory() ? join(path, CONFIG_FILE) : path);
  const type = options.method === null ? {} : { peft_type: peftType(options.method.split("+")[0]!) };
  return { ...fromFile, ...type, ...options.adapterFields };
}

/** Fills in what the base and the task say: task type, base name, GPT-2's transposed layout. */
export function withFacts(
  fields: Readonly<Record<string, unknown>>,
  config: AdapterConfig,
  { task, trace }: Setup,
  { model }: TrainOptions,
  added: readonly string[],
): Record<string, unknown> {
  const snapshot = snapshotName(model);
  const transposed = [...trace.modules.values()].some(
    ({ kind, spec }) => kind === "linear" && spec.layout === "in,out",
  );
  return {
    ...fields,
    task_type: config.task_type ?? peftTask(task),
    base_model_name_or_path: config.base_model_name_or_path ?? snapshot?.id ?? model,
    revision: config.revision ?? snapshot?.commit ?? null,
    ...(added.length > 0 ? { modules_to_save: [...(config.modules_to_save ?? []), ...added] } : {}),
    ...("fan_in_fan_out" in config ? { fan_in_fan_out: config.fan_in_fan_out || transposed } : {}),
  };
}
