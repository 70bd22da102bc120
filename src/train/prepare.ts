/** From options to everything a run needs: base, rows, and the method bound to the model with its first values. */

import { statSync } from "node:fs";
import { join } from "node:path";
import { type Adapter, createAdapter, loadAdapter, readFloat } from "../adapters/adapter.ts";
import { type AdapterConfig, parseAdapterConfig } from "../adapters/bind.ts";
import type { BoundMethod } from "../adapters/method.ts";
import { CONFIG_FILE, openPeftFolder, type PeftFolder, savePeftFolder } from "../adapters/peft-folder.ts";
import type { Dataset } from "../data/dataset.ts";
import { hashFile, sampleFile } from "../files/fingerprint.ts";
import { readJsonObject } from "../files/json-file.ts";
import { type Base, openBase, peftTask, readData, resolveTask, type Setup, settle } from "../program/setup.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import { bindFull } from "./full.ts";
import type { TrainOptions } from "./options.ts";
import { saveFullModel } from "./save-full.ts";

export interface Prepared {
  readonly setup: Setup;
  readonly data: Dataset;
  readonly evalData: Dataset | null;
  readonly method: BoundMethod;
  readonly parameters: ReadonlyMap<string, FloatTensor>;
  /** What a resumed run must share with this one. */
  readonly fingerprint: Readonly<Record<string, unknown>>;
  /** Writes the trained thing, with these values, to a folder. */
  save(folder: string, values: ReadonlyMap<string, FloatTensor>): void;
}

export function prepare(options: TrainOptions): Prepared {
  const base = openBase(options.model);
  const folder = options.initAdapter === null ? null : openPeftFolder(options.initAdapter);
  const full = options.method === "full";
  const fields = full || folder ? null : methodFields(options);
  const configured = folder?.config ?? (fields && parseAdapterConfig(fields, "adapter configuration"));
  const hint = resolveTask(base, options.task, configured);
  const rowOptions = { maxLength: options.maxLength, maskPrompt: options.maskPrompt };
  const data = readData(base, options.data, { ...rowOptions, task: hint });
  const evalData =
    options.evalData === null ? null : readData(base, options.evalData, { ...rowOptions, task: data.task });
  const setup = settle(base, data.task);
  const common = { setup, data, evalData, fingerprint: fingerprintOf(options, base, folder, fields) };
  if (full) {
    const method = bindFull(setup.trace);
    const parameters = new Map(
      [...method.parameters].map(([name, { shape }]) => [
        name,
        floatTensor(shape, readFloat(base.model.source.find(name, shape), name)),
      ]),
    );
    return { ...common, method, parameters, save: (path, values) => saveFullModel(path, base.model, values) };
  }
  const adapter = folder
    ? loadAdapter(folder, base.model, setup.trace)
    : createAdapter(
        withFacts(parseAdapterConfig(fields!, "adapter configuration"), setup, options),
        base.model,
        setup.trace,
        options.seed,
      );
  return { ...common, ...adapterParts(adapter) };
}

function adapterParts(adapter: Adapter): Pick<Prepared, "method" | "parameters" | "save"> {
  return {
    method: adapter.method,
    parameters: adapter.tensors,
    save: (path, tensors) => savePeftFolder(path, { ...adapter, tensors }),
  };
}

/** The configuration's fields: those of --adapter-config, then those that flags set. */
function methodFields(options: TrainOptions): Record<string, unknown> {
  const path = options.adapterConfig;
  const fromFile =
    path === null
      ? {}
      : readJsonObject(statSync(path, { throwIfNoEntry: false })?.isDirectory() ? join(path, CONFIG_FILE) : path);
  const type = options.method === null ? {} : { peft_type: options.method.toUpperCase().replaceAll("-", "_") };
  return { ...fromFile, ...type, ...options.adapterFields };
}

/** Fills in what the base and the task say: task type, base name, default targets, GPT-2's transposed layout. */
function withFacts(config: AdapterConfig, { model, task, trace }: Setup, options: TrainOptions): AdapterConfig {
  const transposed = [...trace.modules.values()].some(
    ({ kind, spec }) => kind === "linear" && spec.layout === "in,out",
  );
  return {
    ...config,
    task_type: config.task_type ?? peftTask(task),
    base_model_name_or_path: config.base_model_name_or_path ?? options.model,
    target_modules: config.target_modules ?? model.architecture.defaultTargets,
    fan_in_fan_out: config.fan_in_fan_out || transposed,
  };
}

/** Options that shape the numbers. `maxSteps` may grow, so it is left out unless the schedule depends on it. */
function fingerprintOf(
  options: TrainOptions,
  base: Base,
  folder: PeftFolder | null,
  fields: Record<string, unknown> | null,
): Record<string, unknown> {
  const {
    model: _model,
    data,
    evalData,
    out: _out,
    resume: _resume,
    threads,
    maxSteps,
    saveSteps: _save,
    saveLimit: _limit,
    ...rest
  } = options;
  const scheduled = rest.scheduler !== "constant" || (rest.warmupRatio > 0 && rest.warmupSteps === 0);
  return {
    ...rest,
    ...(scheduled ? { maxSteps } : {}),
    adapterConfig: fields,
    initAdapter: folder && hashFile([...folder.tensors.values()][0]!.path),
    base: baseHash(base),
    data: hashFile(data),
    evalData: evalData && hashFile(evalData),
    threads, // sums are split by thread, so another number of them rounds differently
  };
}

/** Content hash of the base: its weight files, sampled. */
function baseHash({ model }: Base): string {
  return model.files.map(sampleFile).join(" ");
}
