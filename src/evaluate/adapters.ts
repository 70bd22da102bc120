/** Adapters of files, opened on a base and ready to be mounted together. */

import { type Adapter, loadAdapter } from "../adapters/adapter.ts";
import { namesBase, refuseOtherWeights } from "../adapters/base-check.ts";
import { savedName } from "../adapters/modules-to-save.ts";
import { openPeftFolder, type PeftFolder } from "../adapters/peft-folder.ts";
import { recordedTask } from "../data/provenance.ts";
import { ModelError, UsageError } from "../errors.ts";
import { withClasses } from "../models/open.ts";
import { NO_VIRTUAL, type VirtualTokens } from "../program/layout.ts";
import type { MountedAdapter } from "../program/program.ts";
import { type Base, headMatrix, lacksHead, placeholders, resolveTask, type Setup, settle } from "../program/setup.ts";
import { classifies, type Task } from "../task.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** An adapter as users name it. */
export interface AdapterChoice {
  /** Keeps its tensors apart from other adapters'. */
  readonly name: string;
  /** A PEFT folder. */
  readonly path: string;
  /** Factor on its whole effect. */
  readonly weight: number;
}

export interface OpenedAdapters {
  readonly folders: readonly PeftFolder[];
  /** Tensors of the checkpoint that an adapter brings itself, so that the checkpoint may lack them. */
  supplies(name: string): boolean;
  load(setup: Setup): LoadedAdapters;
}

export interface LoadedAdapters {
  readonly adapters: readonly Adapter[];
  readonly mounted: readonly MountedAdapter[];
  /** Every adapter's tensors by the names of the programs' inputs. */
  readonly tensors: ReadonlyMap<string, Tensor>;
}

/** Opens the folders; nothing is bound to a model yet. */
export function openAdapters(choices: readonly AdapterChoice[]): OpenedAdapters {
  const folders = choices.map(({ path }) => openPeftFolder(path));
  const names = new Set(folders.flatMap(({ tensors }) => [...tensors.keys()].map((key) => savedName(key))));
  return {
    folders,
    supplies: (name) => names.has(name),
    load: ({ model, trace }) => {
      const adapters = folders.map((folder) => loadAdapter(folder, model, trace));
      const prefixes = choices.map(({ name }) => `${name}/`);
      return {
        adapters,
        mounted: adapters.map(({ method }, i) => ({ method, prefix: prefixes[i]!, weight: choices[i]!.weight })),
        tensors: new Map(
          adapters.flatMap((adapter, i) =>
            [...adapter.tensors].map(([key, tensor]) => [prefixes[i]! + key, tensor] as const),
          ),
        ),
      };
    },
  };
}

/** The base with the task that options, adapters or checkpoint name, and its adapters. `fallback` is what rows say. */
export function settleWithAdapters(
  base: Base,
  opened: OpenedAdapters,
  task: Task | null,
  fallback?: Task,
): { setup: Setup; loaded: LoadedAdapters } {
  const extracts = opened.folders[0]?.config.task_type === "FEATURE_EXTRACTION";
  const resolved = adapterTask(base, opened, task) ?? fallback ?? (extracts ? "sentence-embedding" : "causal-lm");
  refuseHeadless(base, opened, resolved);
  const setup = settle(adapterBase(base, opened.folders, resolved), resolved, opened.supplies);
  return { setup, loaded: opened.load(setup) };
}

/**
 * What to tell when an adapter names another base than the one it is used on; null when it names none, or this one. Throws
 * ModelError when this one's weights are not those that it was trained on.
 */
export function baseWarning(folder: PeftFolder, { model }: Base, asked: string): string | null {
  refuseOtherWeights(folder, model);
  if (namesBase(folder, model, asked)) return null;
  const { path, config } = folder;
  return `${path} was trained on ${config.base_model_name_or_path}, and is used on ${asked}. Its shapes fit; results may differ.`;
}

/** Tells `tell` of every adapter that names another base. */
export function warnOfBases(
  { folders }: OpenedAdapters,
  base: Base,
  asked: string,
  tell: (message: string) => void = () => {},
): void {
  for (const folder of folders) {
    const warning = baseWarning(folder, base, asked);
    if (warning !== null) tell(warning);
  }
}

/** The task before any row is read. */
export function adapterTask(base: Base, { folders }: OpenedAdapters, task: Task | null): Task | undefined {
  const [first] = folders;
  return resolveTask(base, task ?? (first ? recordedTask(first.path).task : null), first?.config ?? null);
}

/** The base with an output for each class of the adapter's own head, where the checkpoint has none for the task. */
export function adapterBase(base: Base, folders: readonly PeftFolder[], task: Task | undefined): Base {
  if (task === undefined || !classifies(task) || !lacksHead(base.model, task)) return base;
  const matrix = headMatrix(base.model, task);
  for (const { path, tensors } of folders) {
    const count = [...tensors].find(([key]) => savedName(key) === matrix)?.[1].shape[0];
    if (count === undefined) continue;
    const { classes } = recordedTask(path);
    const names = classes?.length === count ? classes : placeholders(count);
    return { ...base, model: withClasses(base.model, names, task) };
  }
  return base;
}

/** Throws ModelError where neither the base nor its adapters have the task's last layer: they are another architecture's. */
function refuseHeadless({ model }: Base, { folders: [first], supplies }: OpenedAdapters, task: Task): void {
  if (!first || !classifies(task) || !lacksHead(model, task)) return;
  const matrix = headMatrix(model, task)!;
  if (supplies(matrix)) return;
  const trainedOn = first.config.base_model_name_or_path ?? "a base that it does not name";
  throw new ModelError(
    `${first.path}: the task ${task} needs ${matrix}, which ${model.folder} lacks and the adapter does not bring. ` +
      `It was trained on ${trainedOn}: use that, or another base of its architecture.`,
  );
}

/** The tokens that the mounted adapters put before each row. Throws UsageError when two of them do. */
export function virtualTokens(adapters: readonly MountedAdapter[]): VirtualTokens {
  const virtuals = adapters.flatMap(({ method: { virtual } }) =>
    virtual && virtual.prompt + virtual.prefix > 0 ? [virtual] : [],
  );
  if (virtuals.length > 1) {
    throw new UsageError("Only one adapter of a command may be a prompt or a prefix: two have no weighted sum.");
  }
  return virtuals[0] ?? NO_VIRTUAL;
}
