/** An adapter in memory: configuration, method bound to a model, and its tensors; from a file, or new. */

import { AdapterMismatchError, UsageError } from "../errors.ts";
import { readTensor } from "../files/safetensors.ts";
import type { Model } from "../models/open.ts";
import type { ModelTrace } from "../models/trace.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { hashText, type Random, randomStream } from "../tensor/random.ts";
import { sameShape } from "../tensor/shape.ts";
import { type FloatTensor, floatTensor, type StoredTensor, type Tensor } from "../tensor/tensor.ts";
import { type AdapterConfig, type BindContext, bindMethod, completeConfig } from "./bind.ts";
import { composeMethods } from "./compose.ts";
import { extraTensorProblem } from "./file-copies.ts";
import type { BoundMethod, InitContext } from "./method.ts";
import { savedTensors } from "./modules-to-save.ts";
import type { PeftFolder } from "./peft-folder.ts";

export interface Adapter {
  readonly config: AdapterConfig;
  readonly method: BoundMethod;
  /** What a composed adapter was made of, the first with the others' heads; absent for a single one. */
  readonly parts?: readonly Omit<Adapter, "tensors">[];
  /** Values of the method's parameters by key. */
  readonly tensors: ReadonlyMap<string, FloatTensor>;
  /** Start of the base's names that its file leaves out: PEFT's feature extractors are base models without a head. */
  readonly unprefixed?: string;
  /** SHA-256 of the files that it was read from, where they were read whole. */
  readonly content?: string;
  /** Copies of the base's tensors that its file held, written again as they were. */
  readonly copies?: ReadonlyMap<string, Tensor>;
}

export interface NewOptions {
  readonly tokenize?: (text: string) => readonly number[];
  /** The model as it is computed with, where that is not `model`: in fewer bits. */
  readonly computed?: Model;
  /** First A by module, as EVA finds them in the data. */
  readonly directions?: ReadonlyMap<string, Float32Array>;
}

/** A new adapter with its initial values; tensor after tensor draws from its own stream of `seed`. */
export function createAdapter(
  config: AdapterConfig,
  model: Model,
  trace: ModelTrace,
  seed: number,
  options: NewOptions = {},
): Adapter {
  const { tokenize } = options;
  const context = { ...bindContext(model, trace, true), ...(tokenize ? { tokenize } : {}) };
  const completed = completeConfig(config, context);
  const method = bindMethod(completed, context);
  const tensors = initialTensors(method, model, seed, options);
  return {
    config: trainedConfig(completed),
    method: method.from?.(tensors) ?? method,
    tensors,
    ...unprefixed(completed, model),
  };
}

function unprefixed({ task_type }: AdapterConfig, { architecture }: Model): Pick<Adapter, "unprefixed"> {
  return task_type === "FEATURE_EXTRACTION" ? { unprefixed: architecture.basePrefix } : {};
}

/** A new adapter of several methods at once, as LoRA with a prefix. The first one's modules_to_save go for all. */
export function createComposed(
  configs: readonly AdapterConfig[],
  model: Model,
  trace: ModelTrace,
  seed: number,
  options: NewOptions = {},
): Adapter {
  if (configs.length === 1) return createAdapter(configs[0]!, model, trace, seed, options);
  const { tokenize } = options;
  const context = { ...bindContext(model, trace, true), ...(tokenize ? { tokenize } : {}) };
  const taken = takenBy(completeConfig(configs[0]!, context));
  const bound = configs.map((config, i) => {
    const own = i === 0 ? context : { ...context, taken };
    const completed = completeConfig(config, own);
    return { config: completed, method: bindMethod(completed, own) };
  });
  const tensors = initialTensors(composeMethods(bound.map(({ method }) => method)), model, seed, options);
  const parts = bound.map(({ config, method }) => ({
    config,
    method: method.from?.(tensors) ?? method,
    ...unprefixed(config, model),
  }));
  return { config: parts[0]!.config, parts, method: composeMethods(parts.map(({ method }) => method)), tensors };
}

/** The configuration to save: what LoftQ starts from is a plain adapter of the quantised base, and stays one in PEFT. */
function trainedConfig(config: AdapterConfig): AdapterConfig {
  return config.peft_type === "LORA" && config.init_lora_weights === "loftq"
    ? { ...config, init_lora_weights: true }
    : config;
}

function takenBy({ modules_to_save }: AdapterConfig): (module: string) => boolean {
  return savedTensors(modules_to_save ?? []).covers;
}

/** What configurations are bound to. `strict` is for new adapters: everything they name must be there. */
export function bindContext(model: Model, trace: ModelTrace, strict: boolean): BindContext {
  return {
    trace,
    facts: model.config,
    modelType: String(model.rawConfig["model_type"]),
    defaultTargets: model.architecture.defaultTargets,
    strict,
  };
}

/** Initial values of a method's parameters, in their order. */
export function initialTensors(
  method: BoundMethod,
  model: Model,
  seed: number,
  { computed = model, directions }: Omit<NewOptions, "tokenize"> = {},
): Map<string, FloatTensor> {
  const made = new Map<string, FloatTensor>();
  const value = (key: string): FloatTensor => {
    const held = made.get(key);
    if (held) return held;
    const { shape, init, checkpoint, fresh } = method.parameters.get(key)!;
    const random = randomStream(seed, hashText(key));
    const shared = (text: string): Random => randomStream(seed, hashText(text));
    const base: InitContext["base"] = (name, needed) => readFloat(model.source.find(name, needed), name);
    const data = init
      ? init({ random, shared, base, computed: (name, needed) => computed.read(name, needed), directions, value })
      : fresh && !model.source.has(checkpoint!)
        ? fresh(random)
        : base(checkpoint!, shape);
    const tensor = floatTensor(shape, data);
    made.set(key, tensor);
    return tensor;
  };
  return new Map([...method.parameters.keys()].map((key) => [key, value(key)]));
}

/**
 * An adapter of a PEFT folder on this model. Throws AdapterMismatchError listing every tensor that is missing, of
 * another shape, or not the method's.
 */
export function loadAdapter(folder: PeftFolder, model: Model, trace: ModelTrace): Adapter {
  const first = loadPart(folder, model, trace, bindContext(model, trace, false));
  if (!folder.parts) return first;
  const context = { ...bindContext(model, trace, false), taken: takenBy(first.config) };
  const parts = [first, ...folder.parts.map((part) => loadPart(part, model, trace, context))];
  return {
    config: first.config,
    parts,
    method: composeMethods(parts.map(({ method }) => method)),
    tensors: new Map(parts.flatMap(({ tensors }) => [...tensors])),
  };
}

function loadPart(opened: PeftFolder, model: Model, trace: ModelTrace, context: BindContext): Adapter {
  const config = completeConfig(opened.config, context);
  const method = bound(opened, config, context, model);
  const folder = { ...opened, tensors: withPrefix(opened.tensors, method, model.architecture.basePrefix) };
  const problems: string[] = [];
  const tensors = new Map<string, FloatTensor>();
  const copies = new Map<string, Tensor>();
  for (const [key, { shape }] of method.parameters) {
    const entry = folder.tensors.get(key);
    if (!entry) problems.push(`${key}: missing, the model needs [${shape}]`);
    else if (!sameShape(entry.shape, shape))
      problems.push(`${key}: adapter has [${entry.shape}], the model needs [${shape}]`);
    else tensors.set(key, floatTensor(shape, toFloat32(readTensor(entry))));
  }
  for (const [key, entry] of folder.tensors) {
    if (method.parameters.has(key)) continue;
    const problem = extraTensorProblem(key, entry, { model, trace, method });
    if (problem) problems.push(`${key}: ${problem}`);
    else copies.set(key, readTensor(entry));
  }
  if (problems.length > 0) {
    throw new AdapterMismatchError(
      `${folder.path} does not fit ${model.folder}:\n${problems
        .slice(0, 20)
        .map((each) => `  ${each}`)
        .join("\n")}` +
        `${problems.length > 20 ? `\n  and ${problems.length - 20} more` : ""}` +
        `\nIt was trained on ${config.base_model_name_or_path ?? "a base that it does not name"}. Check --model, and target_modules in its adapter_config.json.`,
      problems,
    );
  }
  return {
    config,
    method: startedMethod(folder, config, method, model),
    tensors,
    copies,
    ...unprefixed(config, model),
  };
}

/** A file's tensors by the method's keys, where the file was made on the base model without its head. */
function withPrefix<T>(tensors: ReadonlyMap<string, T>, { parameters }: BoundMethod, prefix: string): Map<string, T> {
  const start = "base_model.model.";
  return new Map(
    [...tensors].map(([key, tensor]) => {
      const longer = key.startsWith(start) ? `${start}${prefix}${key.slice(start.length)}` : key;
      return [!parameters.has(key) && parameters.has(longer) ? longer : key, tensor];
    }),
  );
}

/**
 * The method of a file that was saved without conversion: PEFT starts anew from a part of the base each time it loads
 * one, and so do we. Singular values and QR are unique but for signs, which the product lacks.
 */
function startedMethod({ path }: PeftFolder, config: AdapterConfig, method: BoundMethod, model: Model): BoundMethod {
  if (!method.from) return method;
  if (config.peft_type === "LORA" && String(config.init_lora_weights).includes("niter")) {
    throw new AdapterMismatchError(
      `${path} starts from init_lora_weights ${config.init_lora_weights}, random values that it does not hold. Convert it in PEFT: save_pretrained(path, path_initial_model_for_weight_conversion=…).`,
      [`init_lora_weights ${config.init_lora_weights}`],
    );
  }
  return method.from(initialTensors(method, model, 0));
}

/** Binding that fails is a misfit of file and model here, not the user's wrong option. */
function bound(folder: PeftFolder, config: AdapterConfig, context: BindContext, model: Model): BoundMethod {
  try {
    return bindMethod(config, context);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const base = config.base_model_name_or_path ?? "a base that it does not name";
    throw new AdapterMismatchError(
      `${folder.path} does not fit ${model.folder}: ${error.message} It was trained on ${base}. Check --model.`,
      [error.message],
    );
  }
}

/** A stored tensor as float32 in memory. */
export function readFloat(tensor: StoredTensor, name: string): Float32Array {
  return toFloat32(readTensor({ ...tensor, name, storedType: tensor.dtype })).slice();
}
