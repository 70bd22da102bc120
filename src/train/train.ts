/** The training loop, as a stream of events. It reads top to bottom: prepare, resume, steps, evaluation, result. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { maskedStep } from "../data/masking.ts";
import { LowrankError, messageOf } from "../errors.ts";
import { writeJsonAtomic } from "../files/atomic.ts";
import { makeFolder } from "../files/make-folder.ts";
import { refuseOnDevice } from "../precision/precision.ts";
import { batchFacts } from "../program/setup.ts";
import type { Runtime } from "../runtime/session.ts";
import { hash2 } from "../tensor/random.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import { clipFactor, createMoments } from "./adamw.ts";
import { diagnosis, doneEvent, startEvent } from "./describe.ts";
import { EVENTS_FILE, openEventLog } from "./event-log.ts";
import type { EvalEvent, StepEvent, TrainEvent } from "./events.ts";
import { supervised } from "./objective.ts";
import { createOptimizer } from "./optimizer.ts";
import { type TrainInput, type TrainOptions, trainOptions } from "./options.ts";
import { type OrderOptions, rowsOfStep, stepsPerEpoch } from "./order.ts";
import { preferenceLossOf, preferences } from "./preference-objective.ts";
import { type Prepared, prepareRows, withMethod } from "./prepare.ts";
import { planMemory } from "./recompute.ts";
import { scheduleFactor } from "./schedule.ts";
import { type History, listCheckpoints, loadState, type RunState, saveState } from "./state.ts";
import { divergedFrom, evaluationsWithoutGain } from "./watch.ts";

/** Options, history and times of a finished run, in its folder. */
const REPORT_FILE = "training.json";

export interface TrainEnvironment {
  readonly runtime: Runtime;
  /** Asked between passes and steps; true saves a checkpoint and ends the run. */
  stopRequested?(): boolean;
}

/** Trains in this thread. Throws LowrankError for options, data or models that cannot work, before the first step. */
export async function* trainHere(
  input: TrainInput,
  { runtime, stopRequested = () => false }: TrainEnvironment,
): AsyncGenerator<TrainEvent> {
  const started = performance.now();
  const options = trainOptions(input);
  refuseOnDevice(options.precision, runtime);
  const rows = await prepareRows(options, runtime);
  // What few runs need is loaded by those: the first step of the others comes sooner.
  const { configured } = rows;
  const asksRows = configured?.peft_type === "LORA" && configured.init_lora_weights === "eva";
  const run = withMethod(rows, asksRows ? await (await import("./eva.ts")).evaStart(rows, runtime) : null);
  const order: OrderOptions = { ...options, rows: run.data.examples.length };
  const total = options.maxSteps ?? Math.ceil(options.epochs * stepsPerEpoch(order));
  const state = startState(options, run, total);
  makeFolder(options.out); // told now, not after hours, when it cannot be written
  const log = openEventLog(options.out, state.history.length > 0);
  log.write({ event: "session", pid: process.pid, model: options.model, data: options.data });
  try {
    for await (const event of steps({ options, run, order, total, state, runtime, stopRequested, started })) {
      log.write(event);
      yield event;
    }
  } catch (error) {
    log.write({ event: "error", message: messageOf(error) });
    throw error;
  } finally {
    log.close();
  }
}

interface Run {
  readonly options: TrainOptions;
  readonly run: Prepared;
  readonly order: OrderOptions;
  readonly total: number;
  readonly state: RunState;
  readonly runtime: Runtime;
  readonly started: number;
  stopRequested(): boolean;
}

async function* steps(given: Run): AsyncGenerator<TrainEvent> {
  const { options, run, order, total, state, runtime, stopRequested, started } = given;
  const { setup, data, method, masking } = run;
  let best = state.best;
  const history = [...state.history];
  const losses = history.flatMap((event) => (event.event === "step" ? [event.loss] : []));
  const adapter = { method, prefix: "", weight: 1 };
  const session = { threads: options.threads };
  const facts = batchFacts(setup, method.virtual, options.packing);
  const program = { model: setup.model, task: setup.task, adapters: [adapter] };
  const kind = preferenceLossOf(options, data);
  const targeted = masking ? maskedStep(data.examples, masking, 0) : data.examples;
  const { recompute, tokensPerBatch, warning } = planMemory(options, program, targeted, facts);
  const limits = { batchSize: options.batchSize, tokensPerBatch };
  const { labelSmoothing, modelDropout } = options;
  // Packing changes no bit of a product of bytes; recomputed products would double the copies.
  const prepack = options.prepack === "auto" ? options.precision === "int8" && !recompute : options.prepack === "on";
  const computed = { setup, adapter, recompute, prepack, limits, facts, masking, labelSmoothing, modelDropout };
  const common = { runtime, session, ...computed };
  const reference = options.initAdapter === null ? null : { adapter, tensors: run.parameters };
  const objective = kind === null ? supervised(common) : preferences({ ...common, kind, options, reference });
  const sampler =
    options.samplePrompts === null
      ? null
      : (await import("./samples.ts")).createSampler(options, run, { runtime, session, setup, adapter });
  const optimizer = await createOptimizer(runtime, state, options);
  const checkpoint = async (step: number): Promise<string> => {
    const [parameters, moments] = [await optimizer.readParameters(), await optimizer.readMoments()];
    return saveState(
      options.out,
      { step, parameters, moments, best, fingerprint: run.fingerprint, total, history },
      options.saveLimit,
      (folder) => run.save(folder, parameters),
    );
  };

  const evaluate = async (step: number): Promise<EvalEvent> => {
    const measured = await objective.evaluate(run.evalData!.examples, optimizer.parameters);
    const event: EvalEvent = { event: "eval", step, ...measured };
    history.push(event);
    if (best === null || event.loss < best.loss)
      best = { step, loss: event.loss, tensors: copyOf(await optimizer.readParameters()) };
    return event;
  };
  const sample = async function* (step: number): AsyncGenerator<TrainEvent> {
    await objective.rest();
    for await (const event of sampler!.samples(step, optimizer.parameters)) {
      history.push(event);
      yield event;
    }
  };

  try {
    yield startEvent(options, run, total, state.step);
    for (const message of [...run.warnings, ...(warning ? [warning] : [])]) yield { event: "warning", message };
    if (state.step > 0 && state.total !== total && options.scheduler !== "constant") {
      const message = `The ${options.scheduler} schedule now ends at step ${total}; up to step ${state.step} it was on its way to step ${state.total}.`;
      yield { event: "warning", message };
    }
    const warmup = options.warmupSteps > 0 ? options.warmupSteps : Math.ceil(options.warmupRatio * total);
    const learningRate = options.lr ?? (kind !== null ? 1e-5 : options.method === "full" ? 5e-5 : 2e-4);
    const rateOf = rateFactors(options, learningRate, state.parameters);
    const evalEvery = options.evalSteps ?? stepsPerEpoch(order);
    const sampleEvery = options.sampleSteps ?? evalEvery;
    if (run.evalData && history.length === 0) yield await evaluate(0);
    if (sampler && state.step === 0 && !history.some(({ event }) => event === "sample")) yield* sample(0);
    let last = exhausted(history, options) ? state.step : total;

    for (let step = state.step + 1; step <= last; step++) {
      const begun = performance.now();
      const rows = rowsOfStep(order, step).map((row) => data.examples[row]!);
      const result = await objective.step(rows, optimizer.parameters, hash2(options.seed, step), stopRequested);
      if (result === null) {
        // Asked to stop in the middle of the step, of which nothing has been applied.
        const path = await checkpoint(step - 1);
        yield { event: "checkpoint", step: step - 1, path };
        yield { event: "interrupted", step: step - 1, path };
        return;
      }
      const { loss, gradients, tokens, targetTokens, metrics } = result;
      const gradNorm = await optimizer.norm(gradients);
      losses.push(loss);
      const failed = diagnosis({ step, loss, gradNorm }, divergedFrom(losses, options), options, {
        from: state.step,
        best,
      });
      if (failed) {
        if (best) run.save(options.out, best.tensors);
        throw failed;
      }
      const rate = learningRate * scheduleFactor(options.scheduler, step, warmup, total);
      const factor = clipFactor(gradNorm, options.maxGradNorm);
      await optimizer.update(gradients, { step, learningRate: rate, factor, rateOf });
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
        ...metrics,
      };
      history.push(event);
      yield event;
      if (run.evalData && (step % evalEvery === 0 || step === total)) {
        yield await evaluate(step);
        if (step < total && exhausted(history, options)) {
          last = step;
          const message = `No gain in ${options.earlyStoppingPatience} evaluations; the best was at step ${best!.step}.`;
          yield { event: "stopped", step, reason: "early-stopping", message };
        }
      }
      if (sampler && (step % sampleEvery === 0 || step === last)) yield* sample(step);
      const stopped = step < last && stopRequested();
      if (stopped || (options.saveSteps !== null && (step % options.saveSteps === 0 || step === last))) {
        const path = await checkpoint(step);
        yield { event: "checkpoint", step, path };
        if (stopped) {
          yield { event: "interrupted", step, path };
          return;
        }
      }
    }

    const done = doneEvent(options, history, best, last, (performance.now() - started) / 1000);
    run.save(options.out, best?.tensors ?? (await optimizer.readParameters()));
    writeJsonAtomic(join(options.out, REPORT_FILE), { options, base: run.fingerprint["base"], history, done });
    yield done;
  } finally {
    await objective.close();
    await optimizer.close();
  }
}

/** Whether early stopping ends the run here. */
function exhausted(history: History, { earlyStoppingPatience, earlyStoppingThreshold }: TrainOptions): boolean {
  const evals = history.filter((event) => event.event === "eval");
  return (
    earlyStoppingPatience !== null && evaluationsWithoutGain(evals, earlyStoppingThreshold) >= earlyStoppingPatience
  );
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

/** A fresh state, or that of the checkpoint that `--resume` names. */
function startState(options: TrainOptions, { parameters, fingerprint, method }: Prepared, total: number): RunState {
  const newest = listCheckpoints(options.out).at(-1);
  if (options.resume !== false) {
    const path = options.resume === true ? newest?.path : options.resume;
    if (path !== undefined) return loadState(path, { fingerprint, total }, method.parameters);
    // A run that was killed before its first checkpoint has lost nothing but time: it begins again.
    if (!existsSync(join(options.out, EVENTS_FILE))) {
      throw new LowrankError(`${options.out} holds no run to resume. Check --out, or run without --resume.`);
    }
  } else if (newest) {
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

function copyOf(tensors: ReadonlyMap<string, FloatTensor>): Map<string, FloatTensor> {
  return new Map([...tensors].map(([key, { shape, data }]) => [key, floatTensor(shape, data.slice())]));
}
