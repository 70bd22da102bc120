/** The training loop, as a stream of events. It reads top to bottom: prepare, resume, steps, evaluation, result. */

import { join } from "node:path";
import { preflight } from "../data/preflight.ts";
import { DataError, LowrankError } from "../errors.ts";
import { createEvaluator, type Evaluator } from "../evaluate/evaluate.ts";
import { writeJsonAtomic } from "../files/atomic.ts";
import { byteLevels } from "../precision/levels.ts";
import { countTargets, prepareBatch } from "../program/batch.ts";
import { trainProgram } from "../program/program.ts";
import { createRunner, type Runner } from "../program/runner.ts";
import { batchFacts } from "../program/setup.ts";
import type { Runtime } from "../runtime/session.ts";
import { hash2 } from "../tensor/random.ts";
import { sizeOf } from "../tensor/shape.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import { adamwStep, clipFactor, createMoments, globalNorm } from "./adamw.ts";
import type { EvalEvent, StepEvent, TrainEvent } from "./events.ts";
import { makeFolder } from "./make-folder.ts";
import { type TrainInput, type TrainOptions, trainOptions } from "./options.ts";
import { type OrderOptions, rowsOfStep, stepsPerEpoch } from "./order.ts";
import { type Prepared, prepare } from "./prepare.ts";
import { recomputes } from "./recompute.ts";
import { scheduleFactor } from "./schedule.ts";
import { type BestSoFar, listCheckpoints, loadState, type RunState, saveState } from "./state.ts";

/** Options, history and times of a finished run, in its folder. */
const REPORT_FILE = "training.json";
/** Tokens of a row that the start event shows. */
const SHOWN_TOKENS = 128;

export interface TrainEnvironment {
  readonly runtime: Runtime;
  /** Asked between steps; true saves a checkpoint and ends the run. */
  stopRequested?(): boolean;
}

/** Trains in this thread. Throws LowrankError for options, data or models that cannot work, before the first step. */
export async function* trainHere(
  input: TrainInput,
  { runtime, stopRequested }: TrainEnvironment,
): AsyncGenerator<TrainEvent> {
  const started = performance.now();
  const options = trainOptions(input);
  const levels = options.precision === "int8" ? await byteLevels(runtime) : 127;
  const run = prepare(options, levels);
  const { setup, data, method } = run;
  const order: OrderOptions = { ...options, rows: data.examples.length };
  const total = options.maxSteps ?? Math.ceil(options.epochs * stepsPerEpoch(order));
  const state = startState(options, run, total);
  makeFolder(options.out); // told now, not after hours, when it cannot be written
  const { parameters, moments } = state;
  let best = state.best;
  const history = [...state.history];

  const facts = batchFacts(setup, method.virtual);
  const mounted = [{ method, prefix: "", weight: 1 }];
  const common = { model: setup.model, task: setup.task, adapters: mounted };
  const session = { threads: options.threads };
  const recompute = recomputes(options, common, data.examples, facts);
  const trainer = createRunner({ runtime, session, build: (shape) => trainProgram({ ...common, shape, recompute }) });
  const evaluator = createEvaluator({ runtime, session, setup, adapters: mounted });
  const save = (folder: string): void => run.save(folder, parameters);
  const checkpoint = (step: number): string =>
    saveState(
      options.out,
      { step, parameters, moments, best, fingerprint: run.fingerprint, total, history },
      options.saveLimit,
      save,
    );

  try {
    yield startEvent(options, run, total, state.step);
    for (const message of run.warnings) yield { event: "warning", message };
    if (state.step > 0 && state.total !== total && options.scheduler !== "constant") {
      const message = `The ${options.scheduler} schedule now ends at step ${total}; up to step ${state.step} it was on its way to step ${state.total}.`;
      yield { event: "warning", message };
    }
    const warmup = options.warmupSteps > 0 ? options.warmupSteps : Math.ceil(options.warmupRatio * total);
    const learningRate = options.lr ?? (options.method === "full" ? 5e-5 : 2e-4);
    const rateOf = rateFactors(options, learningRate, parameters);
    const evaluate = async (step: number): Promise<EvalEvent> => {
      const event = await evaluateStep(evaluator, run, parameters, step);
      await evaluator.close(); // its session maps the weights a second time
      history.push(event);
      if (best === null || event.loss < best.loss) best = { step, loss: event.loss, tensors: copyOf(parameters) };
      return event;
    };
    const evalEvery = options.evalSteps ?? stepsPerEpoch(order);
    if (run.evalData && state.step === 0) yield await evaluate(0);

    for (let step = state.step + 1; step <= total; step++) {
      const begun = performance.now();
      const micro = rowsOfStep(order, step).map((rows) => rows.map((row) => data.examples[row]!));
      const { loss, gradients, tokens, targetTokens } = await gradientsOf(
        trainer,
        micro,
        facts,
        parameters,
        hash2(options.seed, step),
      );
      const gradNorm = globalNorm(gradients);
      if (!Number.isFinite(loss) || !Number.isFinite(gradNorm))
        throw divergence(step, loss, gradNorm, options, state.step);
      const rate = learningRate * scheduleFactor(options.scheduler, step, warmup, total);
      const factor = clipFactor(gradNorm, options.maxGradNorm);
      adamwStep(parameters, gradients, moments, options, { step, learningRate: rate, factor, rateOf });
      const seconds = (performance.now() - begun) / 1000;
      const event: StepEvent = {
        event: "step",
        step,
        loss,
        gradNorm,
        learningRate: rate,
        tokens,
        targetTokens,
        tokensPerSecond: tokens / seconds,
        seconds,
      };
      history.push(event);
      yield event;
      if (run.evalData && (step % evalEvery === 0 || step === total)) yield await evaluate(step);
      const stopped = step < total && (stopRequested?.() ?? false);
      if (stopped || (options.saveSteps !== null && (step % options.saveSteps === 0 || step === total))) {
        const path = checkpoint(step);
        yield { event: "checkpoint", step, path };
        if (stopped) {
          yield { event: "interrupted", step, path };
          return;
        }
      }
    }

    const done = doneEvent(options, history, best, total, (performance.now() - started) / 1000);
    run.save(options.out, best?.tensors ?? parameters);
    writeJsonAtomic(join(options.out, REPORT_FILE), { options, base: run.fingerprint["base"], history, done });
    yield done;
  } finally {
    await trainer.close();
    await evaluator.close();
  }
}

/**
 * Factors on the learning rate by tensor, as PEFT's LoRA+ (`optimizers/loraplus.py`): B and vectors learn faster, an
 * embedding's branches at 1e-6.
 */
function rateFactors(
  { loraplusRatio }: TrainOptions,
  learningRate: number,
  parameters: ReadonlyMap<string, FloatTensor>,
): (key: string) => number {
  if (loraplusRatio === null) return () => 1;
  return (key) => {
    if (key.includes("lora_embedding_")) return 1e-6 / learningRate;
    return key.includes("lora_B") || parameters.get(key)?.shape.length === 1 ? loraplusRatio : 1;
  };
}

interface StepGradients {
  readonly loss: number;
  readonly gradients: ReadonlyMap<string, Float32Array>;
  readonly tokens: number;
  readonly targetTokens: number;
}

/** Loss and gradients of one update: micro-batches add up, each target of the step weighing the same. */
async function gradientsOf(
  runner: Runner,
  micro: readonly Parameters<typeof prepareBatch>[0][],
  facts: Parameters<typeof prepareBatch>[1],
  parameters: ReadonlyMap<string, FloatTensor>,
  draw: number,
): Promise<StepGradients> {
  const targetTokens = micro.reduce((sum, examples) => sum + countTargets(examples, facts), 0);
  const gradients = new Map<string, Float32Array>();
  let loss = 0;
  let tokens = 0;
  for (const [i, examples] of micro.entries()) {
    const batch = prepareBatch(examples, facts, 1 / targetTokens);
    const outputs = await runner.run(batch, parameters, hash2(draw, i));
    loss += Number(outputs.get("loss")!.data[0]);
    tokens += batch.tokens;
    for (const key of parameters.keys()) {
      const part = outputs.get(`grad.${key}`)!.data as Float32Array;
      const sum = gradients.get(key);
      if (sum) for (let j = 0; j < sum.length; j++) sum[j] = sum[j]! + part[j]!;
      else gradients.set(key, part);
    }
  }
  return { loss, gradients, tokens, targetTokens };
}

async function evaluateStep(
  evaluator: Evaluator,
  run: Prepared,
  parameters: ReadonlyMap<string, FloatTensor>,
  step: number,
): Promise<EvalEvent> {
  const {
    targetTokens: _targets,
    rows: _rows,
    ...measured
  } = await evaluator.evaluate(run.evalData!.examples, parameters);
  return { event: "eval", step, ...measured };
}

/** A fresh state, or that of the checkpoint that `--resume` names. */
function startState(options: TrainOptions, { parameters, fingerprint, method }: Prepared, total: number): RunState {
  const newest = listCheckpoints(options.out).at(-1);
  if (options.resume !== false) {
    const path = options.resume === true ? newest?.path : options.resume;
    if (path === undefined)
      throw new LowrankError(`${options.out} holds no checkpoint to resume from. Run without --resume.`);
    return loadState(path, { fingerprint, total }, method.parameters);
  }
  if (newest) {
    throw new LowrankError(
      `${options.out} holds checkpoints of an earlier run (${newest.path}). Go on from them with --resume, or choose another --out.`,
    );
  }
  return {
    step: 0,
    parameters: copyOf(parameters),
    moments: createMoments(parameters),
    best: null,
    fingerprint,
    total,
    history: [],
  };
}

function startEvent(
  options: TrainOptions,
  { setup, data, method, parameters, evalSource }: Prepared,
  steps: number,
  from: number,
): TrainEvent {
  const trainableParameters = [...parameters.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  const added = options.method === "full" ? 0 : trainableParameters;
  return {
    event: "start",
    trainableParameters,
    totalParameters: setup.trace.parameters + added,
    targets: method.targets,
    rows: data.statistics.rows,
    targetTokens: data.statistics.targetTokens,
    truncatedRows: data.statistics.truncatedRows,
    steps,
    task: setup.task,
    precision: options.precision,
    threads: options.threads,
    ...(from === 0 ? {} : { resumedFrom: from }),
    data: preflight(data, { ...setup, maxLength: options.maxLength, limit: SHOWN_TOKENS }),
    evalData: evalSource,
  };
}

function doneEvent(
  { out }: TrainOptions,
  history: readonly (StepEvent | EvalEvent)[],
  best: BestSoFar | null,
  steps: number,
  seconds: number,
): TrainEvent {
  const done = history.filter((event) => event.event === "step");
  const speeds = (done.length > 1 ? done.slice(1) : done)
    .map(({ tokensPerSecond }) => tokensPerSecond)
    .toSorted((a, b) => a - b);
  return {
    event: "done",
    out,
    steps,
    loss: done.at(-1)?.loss ?? Number.NaN,
    bestStep: best?.step ?? null,
    seconds,
    tokensPerSecond: speeds[Math.floor(speeds.length / 2)] ?? 0,
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
  };
}

function divergence(step: number, loss: number, gradNorm: number, { lr }: TrainOptions, from: number): DataError {
  const cause =
    step === from + 1
      ? "The base or the adapter may hold NaN, or a row may have no targets that the model can score."
      : `The learning rate${lr === null ? "" : ` ${lr}`} is probably too high: lower it, raise --warmup-steps or lower --max-grad-norm.`;
  return new DataError(
    `Step ${step}: the loss is ${loss} and the gradient norm ${gradNorm}; training stopped before the update. ${cause}`,
  );
}

function copyOf(tensors: ReadonlyMap<string, FloatTensor>): Map<string, FloatTensor> {
  return new Map([...tensors].map(([key, { shape, data }]) => [key, floatTensor(shape, data.slice())]));
}
