/** What a training run would take: trainable parameters by module, files, and memory by part. */

import { bindContext } from "../adapters/adapter.ts";
import { type AdapterConfig, bindMethod } from "../adapters/bind.ts";
import type { BoundMethod } from "../adapters/method.ts";
import { topological } from "../graph/graph.ts";
import { headOf } from "../models/architecture.ts";
import type { Model } from "../models/open.ts";
import { type ModelTrace, traceModel } from "../models/trace.ts";
import { matrixOf } from "../models/weights.ts";
import { headShape } from "../program/layout.ts";
import { peakBytes } from "../program/memory.ts";
import { trainProgram } from "../program/program.ts";
import type { Task } from "../task.ts";
import { sizeOf } from "../tensor/shape.ts";
import { bindFull } from "../train/full.ts";

export interface EstimateInput {
  readonly model: Model;
  readonly task: Task;
  /** The adapter; null: every tensor is trained. */
  readonly config: AdapterConfig | null;
  /** Rows of a pass, and tokens of each. */
  readonly batchSize: number;
  readonly length: number;
  readonly precision: string;
  readonly recompute: boolean;
}

/** Trainable tensors of modules that differ only in their layer's number. */
export interface ModuleShare {
  /** "h.*.attn.c_attn" */
  readonly modules: string;
  readonly count: number;
  /** Trainable parameters of all of them. */
  readonly parameters: number;
}

/** Bytes. */
export interface MemoryEstimate {
  /** Mapped from the checkpoint or its quantised copy; the system may drop these pages when memory is short. */
  readonly weights: number;
  /** Values that the backward pass waits for, at the peak. */
  readonly activations: number;
  /** Trainable values, their gradients and AdamW's two moments. */
  readonly optimizer: number;
  /** Node, ONNX Runtime and the graph. */
  readonly runtime: number;
  readonly total: number;
}

export interface Estimate {
  readonly model: string;
  readonly task: Task;
  readonly method: string;
  readonly totalParameters: number;
  readonly trainableParameters: number;
  /** How many times fewer are trained than the base has. */
  readonly reduction: number;
  readonly modules: readonly ModuleShare[];
  /** Bytes of files in 16 bits a number: the whole model, and what is trained. */
  readonly checkpointBytes: number;
  readonly adapterBytes: number;
  readonly batchSize: number;
  readonly length: number;
  readonly precision: string;
  readonly memory: MemoryEstimate;
}

/** Node with ONNX Runtime loaded, and a graph's nodes, as measured (docs/planning.md). */
const RUNTIME_BYTES = 140e6;
const NODE_BYTES = 9e3;
/** Bytes a frozen weight of a linear layer takes: in eight bits one for each direction, in four with its block's scale. */
const BYTES_PER_WEIGHT: Readonly<Record<string, number>> = { int8: 2, int4: 0.75 };
/** What the runtime's allocator takes beyond the values alive, as measured. */
const ARENA = 1.08;

export function estimateTraining(input: EstimateInput): Estimate {
  const { model, task, config, batchSize, length, precision } = input;
  const trace = traceModel(model.architecture, model.config, task);
  const method = config === null ? bindFull(trace) : bindMethod(config, bindContext(model, trace, true));
  const trainable = parametersOf(method);
  return {
    model: model.name,
    task,
    method: config?.peft_type.toLowerCase() ?? "full",
    totalParameters: trace.parameters + ownParameters(method),
    trainableParameters: trainable,
    reduction: trace.parameters / trainable,
    modules: moduleShares(method),
    checkpointBytes: 2 * trace.parameters,
    adapterBytes: 2 * trainable,
    batchSize,
    length,
    precision,
    memory: memoryOf(input, trace, method),
  };
}

function parametersOf({ parameters }: BoundMethod): number {
  return [...parameters.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

/** Parameters that the checkpoint does not have already. */
function ownParameters({ parameters }: BoundMethod): number {
  return [...parameters.values()].reduce((sum, { shape, checkpoint }) => sum + (checkpoint ? 0 : sizeOf(shape)), 0);
}

function moduleShares({ parameters }: BoundMethod): ModuleShare[] {
  const shares = new Map<string, { modules: Set<string>; parameters: number }>();
  for (const { key, shape } of parameters.values()) {
    const module = key.replace(/^base_model\.model\./, "").replace(/\.(lora_|ia3_|hada_|lokr_|weight|bias).*$/, "");
    const pattern = module.replace(/\.\d+\./g, ".*.");
    const share = shares.get(pattern) ?? { modules: new Set(), parameters: 0 };
    share.modules.add(module);
    share.parameters += sizeOf(shape);
    shares.set(pattern, share);
  }
  return [...shares].map(([modules, share]) => ({ modules, count: share.modules.size, parameters: share.parameters }));
}

function memoryOf(
  { model, task, precision, batchSize: B, length, recompute }: EstimateInput,
  trace: ModelTrace,
  method: BoundMethod,
): MemoryEstimate {
  const T = length + (method.virtual?.prompt ?? 0);
  const { rows } = headOf(model.architecture, task)!;
  const { vocabularySize, labels } = model.config;
  const scores = task === "causal-lm" || task === "masked-lm" ? vocabularySize : labels;
  const shape = { B, T, ...headShape(rows === "targets" ? B * length : B, scores) };
  const adapters = [{ method, prefix: "", weight: 1 }];
  const outputs = [...trainProgram({ model, task, adapters, shape, recompute }).outputs.values()];
  const memory = {
    weights: weightBytes(model, trace, method, precision, B * T),
    activations: Math.round(ARENA * peakBytes(outputs)),
    optimizer: 16 * parametersOf(method),
    runtime: Math.round(RUNTIME_BYTES + NODE_BYTES * topological(outputs).length),
  };
  return { ...memory, total: memory.weights + memory.activations + memory.optimizer + memory.runtime };
}

/** Bytes of the frozen tensors that a step reads: of an embedding alone the rows of its tokens. */
function weightBytes(
  model: Model,
  trace: ModelTrace,
  { parameters }: BoundMethod,
  precision: string,
  tokens: number,
): number {
  const trained = new Set([...parameters.values()].map(({ checkpoint }) => checkpoint));
  const multiplied = new Set<string>();
  const looked = new Set<string>();
  for (const { kind, name, spec } of trace.modules.values()) {
    if (kind === "embedding") looked.add(`${name}.weight`);
    else multiplied.add(matrixOf(name, spec).name);
  }
  let bytes = 0;
  for (const [name, shape] of trace.tensors) {
    if (trained.has(name)) continue;
    const elements = sizeOf(shape);
    const stored = model.source.has(name) ? model.source.find(name, shape).byteLength : 4 * elements;
    if (multiplied.has(name))
      bytes += BYTES_PER_WEIGHT[precision] === undefined ? stored : BYTES_PER_WEIGHT[precision] * elements;
    else if (looked.has(name)) bytes += (stored / shape[0]!) * Math.min(shape[0]!, tokens);
    else bytes += stored;
  }
  return Math.round(bytes);
}
