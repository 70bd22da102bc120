/** Model, adapters and a shape → the graphs that training and evaluation run. */

import { blendReplaced } from "../adapters/blend.ts";
import { dropOut } from "../adapters/dropout.ts";
import type { BoundMethod } from "../adapters/method.ts";
import { gradient } from "../autodiff/gradient.ts";
import { ModelError } from "../errors.ts";
import { input, type Value } from "../graph/graph.ts";
import { mul } from "../graph/ops/arithmetic.ts";
import { reshape, sumAll } from "../graph/ops/broadcast.ts";
import { gatherRows } from "../graph/ops/gather.ts";
import { concat, slice } from "../graph/ops/movement.ts";
import type { TurnsOptions } from "../graph/ops/turns.ts";
import { type Head, headOf } from "../models/architecture.ts";
import type { Model } from "../models/open.ts";
import { pooled } from "../models/pooling.ts";
import { createStream, type Stream } from "../models/stream.ts";
import type { Weights } from "../models/weights.ts";
import { embeds, labelsValues, type Task } from "../task.ts";
import type { ProgramShape } from "./layout.ts";
import { binaryCrossEntropy, chunkedLoss, chunkedRows, crossEntropy, hit, type RowLoss, squaredError } from "./loss.ts";
import { pairLoss } from "./pair-loss.ts";

/** An adapter as programs take it: bound to the model, with the name that keeps its tensors apart and its weight. */
export interface MountedAdapter {
  readonly method: BoundMethod;
  /** Put before the keys of its inputs: "" for the one in training, "NAME/" beside others. */
  readonly prefix: string;
  readonly weight: number;
}

export interface ProgramOptions {
  readonly model: Model;
  readonly task: Task;
  readonly adapters: readonly MountedAdapter[];
  readonly shape: ProgramShape;
  /** Share of each target that training spreads over all classes; 0 for none. */
  readonly labelSmoothing?: number;
  /** Draw the model's own dropout in training. */
  readonly modelDropout?: boolean;
  /** Keep only each block's input for the backward pass, and compute the block again there. */
  readonly recompute?: boolean;
}

export interface Program {
  readonly stream: Stream;
  readonly outputs: ReadonlyMap<string, Value>;
}

/** Builds loss and gradients: outputs `loss` and `grad.KEY` of every trainable tensor of the first adapter. */
export function trainProgram(options: ProgramOptions): Program {
  const built = buildHead(options, true);
  const trained = options.adapters[0]!;
  const keys = [...trained.method.parameters.keys()];
  const values = keys.map((key) => built.parameter(trained, key));
  const loss = buildLoss(options, built, values);
  const outputs = new Map<string, Value>([["loss", loss]]);
  gradient(loss, values).forEach((dy, i) => {
    if (!dy) throw new ModelError(`internal: the loss does not depend on ${keys[i]}`);
    outputs.set(`grad.${keys[i]}`, dy);
  });
  return { stream: built.stream, outputs };
}

/** Builds the loss alone; of a masked model also `hits`, how many targets score highest, weighted as the loss is. */
export function lossProgram(options: ProgramOptions): Program {
  const built = buildHead(options, false);
  if (options.task === "masked-lm") return { stream: built.stream, outputs: lossAndHits(options, built) };
  return { stream: built.stream, outputs: new Map([["loss", buildLoss(options, built, [])]]) };
}

function lossAndHits({ model, shape }: ProgramOptions, { weights, head, rows }: Built): Map<string, Value> {
  const { M } = shape;
  const measured = chunkedRows(rows, input("labels", "i32", [M]), turnsOf(shape), (part, targets) => {
    const scores = head.logits(weights, model.config as never, part);
    return concat([crossEntropy(scores, targets), hit(scores, targets)], 1);
  });
  const weighted = mul(measured, reshape(input("weights", "f32", [M]), [M, 1])); // [M, 2]
  const column = (at: number): Value => sumAll(slice(weighted, 1, at, at + 1));
  return new Map([
    ["loss", column(0)],
    ["hits", column(1)],
  ]);
}

/** Builds the loss of each target: output `losses` [M, 1]. `dropout` as in training, for a step's own forward pass. */
export function targetLossProgram(options: ProgramOptions, dropout: boolean): Program {
  const built = buildHead(options, dropout);
  const losses = chunkedRows(built.rows, targetsOf(options, built), turnsOf(options.shape), lossOfRows(options, built));
  return { stream: built.stream, outputs: new Map([["losses", losses]]) };
}

/** Builds the head's scores: output `logits` [M, classes] for the rows that the input `rows` names. */
export function logitsProgram(options: ProgramOptions): Program {
  const { stream, weights, head, rows } = buildHead(options, false);
  return { stream, outputs: new Map([["logits", head.logits(weights, options.model.config as never, rows)]]) };
}

interface Built {
  readonly stream: Stream;
  readonly weights: Weights;
  readonly head: Head<never>;
  /** Hidden rows that the head reads [M, C]. */
  readonly rows: Value;
  parameter(adapter: MountedAdapter, key: string): Value;
}

function buildHead(
  { model, task, adapters, shape: { B, T, M, chunks }, recompute = false, modelDropout = false }: ProgramOptions,
  training: boolean,
): Built {
  const head = headOf(model.architecture, task);
  if (!head) throw new ModelError(`internal: no ${task} head`);
  const stream = createStream(B, T, { M, chunks, recompute });
  const parameter = parameterInputs();
  const mounted = mount(model, stream, adapters, parameter, training);
  const weights = training && modelDropout ? withModelDropout(mounted) : mounted;
  const hidden = model.architecture.hidden(weights, model.config, stream); // [N, C]
  const rows =
    head.rows === "pooled" ? pooled(stream, hidden, model.pooling.mode) : gatherRows(hidden, input("rows", "i32", [M]));
  return { stream, weights, head, rows, parameter };
}

/** Weights that draw what the model drops out. */
function withModelDropout(weights: Weights): Weights {
  return {
    ...weights,
    dropout: (x, site, rate) => (rate === 0 ? x : dropOut(x, weights.stream, `model.${site}`, rate)),
  };
}

/**
 * Weights of the checkpoint with every adapter on them, in order. `checkpoint` makes the base of them, given the
 * tensors that adapters take whole.
 */
export function mount(
  model: Model,
  stream: Stream,
  adapters: readonly MountedAdapter[],
  parameter: Built["parameter"],
  dropout: boolean,
  checkpoint: (replaced: ReadonlyMap<string, Value>) => Weights = (replaced) => model.weights(stream, replaced),
): Weights {
  const replaced = blendReplaced(
    adapters.map((each) => ({ ...each, value: (key) => parameter(each, key) })),
    model.source,
  );
  const frozen = checkpoint(replaced);
  return adapters.reduce<Weights>(
    (base, each) => each.method.decorate(base, (key) => parameter(each, key), { weight: each.weight, dropout, frozen }),
    frozen,
  );
}

/** Adapter tensors as inputs, one value a tensor however often it is read. */
export function parameterInputs(): Built["parameter"] {
  const inputs = new Map<string, Value>();
  return ({ method, prefix }, key) => {
    const name = prefix + key;
    const held = inputs.get(name);
    if (held) return held;
    const value = input(name, "f32", method.parameters.get(key)!.shape, true);
    inputs.set(name, value);
    return value;
  };
}

function buildLoss(options: ProgramOptions, built: Built, trainable: Value[]): Value {
  const { model, task } = options;
  if (embeds(task)) return pairLoss(task, built.head.logits(built.weights, model.config as never, built.rows));
  const given = {
    rows: built.rows,
    targets: targetsOf(options, built),
    weights: input("weights", "f32", [options.shape.M]),
  };
  return chunkedLoss(given, { ...turnsOf(options.shape), trainable }, lossOfRows(options, built));
}

function turnsOf({ chunks, loops = false }: ProgramShape): TurnsOptions {
  return { count: chunks, loop: loops };
}

/** The inputs `labels` [M] or `values` [M, classes]. */
function targetsOf({ model, task, shape: { M } }: ProgramOptions, { head }: Built): Value {
  const { vocabularySize, labels } = model.config;
  const classes = head.rows === "targets" && task !== "token-classification" ? vocabularySize : labels;
  return labelsValues(task) ? input("values", "f32", [M, classes]) : input("labels", "i32", [M]);
}

/** The loss of each hidden row against its target. */
function lossOfRows({ model, task, labelSmoothing = 0 }: ProgramOptions, { weights, head }: Built): RowLoss {
  return (rows, targets) => {
    const scores = head.logits(weights, model.config as never, rows);
    if (task === "regression") return squaredError(scores, targets);
    if (task === "multi-label-classification") return binaryCrossEntropy(scores, targets);
    return crossEntropy(scores, targets, labelSmoothing);
  };
}
