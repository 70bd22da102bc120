/** From options to everything a run needs: base, rows, and the method bound to the model with its first values. */

import { type Adapter, createComposed, initialTensors, loadAdapter } from "../adapters/adapter.ts";
import { type AdapterConfig, parseAdapterConfig } from "../adapters/bind.ts";
import { TASK_HEADS } from "../adapters/config-fields.ts";
import type { EvaStart } from "../adapters/eva.ts";
import type { BoundMethod } from "../adapters/method.ts";
import { savedName, savedTensors } from "../adapters/modules-to-save.ts";
import { openPeftFolder, type PeftFolder, savePeftFolder } from "../adapters/peft-folder.ts";
import type { Dataset } from "../data/dataset.ts";
import { dataFile, partOf } from "../data/folder.ts";
import { isChat } from "../data/formats.ts";
import type { Masking } from "../data/masking.ts";
import { recordedTask, templateHash, writeProvenance } from "../data/provenance.ts";
import { splitDataset } from "../data/split.ts";
import { UsageError } from "../errors.ts";
import { adapterBase, baseWarning } from "../evaluate/adapters.ts";
import { hashFile } from "../files/fingerprint.ts";
import { snapshotName } from "../files/snapshot-path.ts";
import { readNumber } from "../models/config.ts";
import { weightsHash } from "../models/open.ts";
import { atPrecision } from "../precision/precision.ts";
import {
  type Base,
  maskingOf,
  openBase,
  peftTask,
  readData,
  resolveTask,
  type Setup,
  settle,
  withDataClasses,
} from "../program/setup.ts";
import type { Runtime } from "../runtime/session.ts";
import { classifies, embeds, labelsValues, type Task } from "../task.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import type { StartEvent } from "./events.ts";
import { bindFull } from "./full.ts";
import { furtherConfigs, methodFields, refuseFields, refuseForFull, withAlpha, withFacts } from "./method-fields.ts";
import type { TrainOptions } from "./options.ts";
import { saveFullModel } from "./save-full.ts";

export interface Prepared {
  readonly setup: Setup;
  readonly data: Dataset;
  readonly evalData: Dataset | null;
  /** Where the held-out rows come from. */
  readonly evalSource: StartEvent["evalData"];
  /** How targets are drawn; null where the rows bring their own. */
  readonly masking: Masking | null;
  readonly method: BoundMethod;
  readonly parameters: ReadonlyMap<string, FloatTensor>;
  readonly warnings: readonly string[];
  /** What a resumed run must share with this one. */
  readonly fingerprint: Readonly<Record<string, unknown>>;
  /** Writes the trained thing, with these values, to a folder. */
  save(folder: string, values: ReadonlyMap<string, FloatTensor>): void;
}

/** Everything that comes before the method's first values. */
export interface PreparedRows {
  readonly options: TrainOptions;
  readonly base: Base;
  /** The adapter that is trained on; null where there is none. */
  readonly folder: PeftFolder | null;
  /** A new adapter's fields as they were given. */
  readonly fields: Readonly<Record<string, unknown>> | null;
  /** The adapter's configuration; null for full fine-tuning. */
  readonly configured: AdapterConfig | null;
  /** Modules of a new head, which are saved with the adapter. */
  readonly added: readonly string[];
  readonly common: Omit<Prepared, "method" | "parameters" | "save">;
}

/** A run whose adapter's first values need no look at the rows. */
export async function prepare(given: TrainOptions, runtime: Runtime): Promise<Prepared> {
  return withMethod(await prepareRows(given, runtime), null);
}

/** `runtime` looks at the machine and the model, for a base in eight bits. */
export async function prepareRows(given: TrainOptions, runtime: Runtime): Promise<PreparedRows> {
  const options = withAlpha(withFiles(given));
  const full = options.method === "full";
  if (options.fromScratch && !full) {
    throw new UsageError("fromScratch: new weights are trained whole. Add --method full.");
  }
  const bare = openBase(options.model, options.cacheDir, { bare: options.fromScratch });
  const folder = options.initAdapter === null ? null : openPeftFolder(options.initAdapter);
  if (full) refuseForFull(options, bare);
  const fields = full || folder ? null : methodFields(options);
  const configured = folder?.config ?? (fields && parseAdapterConfig(fields, "adapter configuration"));
  if (configured) refuseFields(options, configured, folder);
  const known = folder ? recordedTask(folder.path).task : null;
  const hint = resolveTask(bare, options.task ?? known, configured);
  const adapted = folder ? adapterBase(bare, [folder], hint) : bare;
  const rowOptions = { maxLength: options.maxLength, maskPrompt: options.maskPrompt };
  const read = readData(adapted, options.data, { ...rowOptions, task: hint });
  const base = withDataClasses(adapted, read);
  const parts =
    options.evalData === null && options.evalSplit > 0 ? splitDataset(read, options.evalSplit, options.seed) : null;
  const data = parts?.train ?? read;
  const evalData =
    options.evalData === null
      ? (parts?.held ?? null)
      : readData(base, options.evalData, { ...rowOptions, task: data.task });
  const evalSource = evalData && {
    file: options.evalData ?? options.data,
    rows: evalData.examples.length,
    split: parts !== null,
  };
  if (options.labelSmoothing > 0 && (labelsValues(data.task) || embeds(data.task))) {
    throw new UsageError(`labelSmoothing: ${data.task} has no class to take a share from. Leave it away.`);
  }
  if (data.task === "sentence-embedding" && options.tokensPerBatch !== null) {
    throw new UsageError(
      "tokensPerBatch: the rows of a batch are ranked against one another, and cannot be cut up. Use --batch-size.",
    );
  }
  const masking = maskingOf(base, data, options.mlmProbability);
  const absent = options.fromScratch ? () => true : suppliedBy(base, folder, configured, data.task);
  const settled = settle(base, data.task, absent);
  const setup = { ...settled, model: await atPrecision(settled, options, runtime) };
  const warning = folder && baseWarning(folder, base, options.model);
  const added = folder || full ? [] : newModules(setup, configured!);
  const warnings = [...(warning ? [warning] : []), ...(added.length > 0 ? [newModulesWarning(added, setup)] : [])];
  const fingerprint = fingerprintOf(options, base, folder, fields);
  const common = { warnings, setup, data, evalData, evalSource, masking, fingerprint };
  return { options, base, folder, fields, configured, added, common };
}

/** The run with its method and first values; `start` is what EVA found in the rows, null where it was not asked. */
export function withMethod(rows: PreparedRows, start: EvaStart | null): Prepared {
  const { options, base, folder, fields, configured, added, common } = rows;
  const { setup } = common;
  const note = (path: string): void => writeProvenance(path, provenanceOf(options, common, base));
  if (configured === null) {
    const method = bindFull(setup.trace, readNumber(base.model.rawConfig, "initializer_range", 0.02));
    const parameters = initialTensors(method, base.model, options.seed);
    return {
      ...common,
      method,
      parameters,
      save: noted((path, values) => saveFullModel(path, base.model, values), note),
    };
  }
  const { tokenizer } = base;
  const adapter = folder
    ? loadAdapter(folder, base.model, setup.trace)
    : createComposed(
        [
          parseAdapterConfig(
            { ...withFacts(fields!, configured!, setup, options, added), ...start?.fields },
            "adapter configuration",
          ),
          ...furtherConfigs(options, configured!),
        ],
        base.model,
        setup.trace,
        options.seed,
        {
          computed: setup.model,
          ...(start ? { directions: start.directions } : {}),
          ...(tokenizer ? { tokenize: (text) => Array.from(tokenizer.encode(text, { special: false })) } : {}),
        },
      );
  const { save, ...trained } = adapterParts(adapter);
  return { ...common, ...trained, save: noted(save, note) };
}

function noted(save: Prepared["save"], note: (path: string) => void): Prepared["save"] {
  return (path, values) => {
    save(path, values);
    note(path);
  };
}

/** What the adapter is made from. */
function provenanceOf(
  options: TrainOptions,
  { data, evalSource, fingerprint }: Pick<Prepared, "data" | "evalSource" | "fingerprint">,
  { model, tokenizer, endId }: Base,
): Parameters<typeof writeProvenance>[1] {
  const evalHash = (fingerprint["evalData"] ?? null) as string | null;
  return {
    base: { name: options.model, ...snapshotName(options.model), hash: String(fingerprint["base"]) },
    data: { file: options.data, hash: String(fingerprint["data"]), rows: data.examples.length, format: data.format },
    evalData: evalSource && { file: evalSource.file, hash: evalHash, rows: evalSource.rows },
    task: data.task,
    classes: classNames(data.task, model),
    templateHash: templateHash(tokenizer?.chatTemplate ?? null),
    templateUsed: isChat(data.format),
    endId,
  };
}

/** Names of the classes by index, for tasks that have some. */
function classNames(task: Task, { rawConfig, config }: Base["model"]): readonly string[] | null {
  if (!classifies(task) || task === "regression") return null;
  const names = rawConfig["id2label"] as Readonly<Record<string, string>> | undefined;
  return names ? Array.from({ length: config.labels }, (_, i) => names[i] ?? `LABEL_${i}`) : null;
}

/** Folders of data replaced by their files: the training rows, and the held-out ones beside them. */
function withFiles(options: TrainOptions): TrainOptions {
  const { data, evalData } = options;
  return {
    ...options,
    data: dataFile(data, "train"),
    evalData: evalData === null ? partOf(data, "valid") : dataFile(evalData, "valid", "test"),
  };
}

/** Tensors that the checkpoint may lack, since the run brings them: those of the adapter's file, or a task's new head. */
function suppliedBy(
  { model }: Base,
  folder: PeftFolder | null,
  config: AdapterConfig | null,
  task: Task,
): (name: string) => boolean {
  if (folder) {
    const held = new Set([...folder.tensors.keys()].map(savedName));
    return (name) => held.has(name);
  }
  const heads = TASK_HEADS[peftTask(task) ?? ""] ?? [];
  const saved = savedTensors([...(config?.modules_to_save ?? []), ...heads]);
  const { basePrefix } = model.architecture;
  const headed = (name: string): boolean =>
    heads.length > 0 && (!name.startsWith(basePrefix) || name.startsWith(`${basePrefix}pooler.`));
  return (name) => headed(name) || saved.covers(moduleOf(name));
}

/** Modules of a new head that the checkpoint lacks and that nothing saves yet: they must go with the adapter. */
function newModules({ model, trace, task }: Setup, config: AdapterConfig): string[] {
  const heads = TASK_HEADS[peftTask(task) ?? ""] ?? [];
  const { covers } = savedTensors([...(config.modules_to_save ?? []), ...heads]);
  const lacking = [...trace.tensors.keys()].filter((name) => !model.source.has(name)).map(moduleOf);
  return [...new Set(lacking)].filter((module) => !covers(module));
}

function newModulesWarning(modules: readonly string[], { model }: Setup): string {
  return `${model.folder} lacks ${modules.join(", ")}: trained from new values, and saved with the adapter (modules_to_save).`;
}

function moduleOf(tensor: string): string {
  return tensor.slice(0, tensor.lastIndexOf("."));
}

function adapterParts(adapter: Adapter): Pick<Prepared, "method" | "parameters" | "save"> {
  return {
    method: adapter.method,
    parameters: adapter.tensors,
    save: (path, tensors) => savePeftFolder(path, { ...adapter, tensors }),
  };
}

/** Options that shape the numbers. The number of steps may grow, so it is kept apart. */
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
    cacheDir: _cache,
    threads,
    maxSteps: _steps,
    saveSteps: _save,
    saveLimit: _limit,
    samplePrompts: _prompts,
    sampleSteps: _samples,
    sampleTokens: _tokens,
    divergenceRatio: _ratio,
    divergencePatience: _patience,
    ...rest
  } = options;
  return {
    ...rest,
    adapterConfig: fields,
    initAdapter: folder && hashFile([...folder.tensors.values()][0]!.path),
    base: weightsHash(base.model),
    data: hashFile(data),
    evalData: evalData && hashFile(evalData),
    threads, // sums are split by thread, so another number of them rounds differently
  };
}
