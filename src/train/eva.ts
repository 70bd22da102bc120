/** EVA's start of a run: passes of the base over training rows, until the directions of its layers' inputs stand. */

import { bindContext } from "../adapters/adapter.ts";
import { bindMethod, completeConfig } from "../adapters/bind.ts";
import {
  type EvaConfig,
  type EvaLayer,
  type EvaStart,
  evaConfigSchema,
  fieldsOfRanks,
  shareRanks,
} from "../adapters/eva.ts";
import type { LoraConfig } from "../adapters/lora-config.ts";
import { patternValue } from "../adapters/targets.ts";
import { type Example, IGNORED } from "../data/example.ts";
import { DataError, UsageError } from "../errors.ts";
import { type Batch, type BatchFacts, prepareBatch } from "../program/batch.ts";
import { layerInputsProgram } from "../program/layer-inputs.ts";
import { headShape } from "../program/layout.ts";
import { textsOf } from "../program/pair-loss.ts";
import { createRunner } from "../program/runner.ts";
import { batchFacts, peftTask } from "../program/setup.ts";
import type { Runtime } from "../runtime/session.ts";
import { addRows, type PcaState } from "../tensor/incremental-pca.ts";
import { hashText, randomStream } from "../tensor/random.ts";
import { rowsOfStep } from "./order.ts";
import type { PreparedRows } from "./prepare.ts";

/** Passes after which directions are taken as they are: tokens that keep changing never agree to tau. */
const PASS_LIMIT = 50;

/** Directions of one input, and which of them stood still in the last pass. */
interface Found {
  state: PcaState | null;
  still: readonly boolean[];
  settled: boolean;
}

/** The start of a new adapter with `init_lora_weights` "eva"; null for every other run. */
export async function evaStart(rows: PreparedRows, runtime: Runtime): Promise<EvaStart | null> {
  const { options, configured } = rows;
  const { setup } = rows.common;
  if (rows.folder || configured?.peft_type !== "LORA" || configured.init_lora_weights !== "eva") return null;
  const { model, trace } = setup;
  const context = bindContext(model, trace, true);
  const config = completeConfig(configured, context) as LoraConfig;
  const eva = config.eva_config ?? evaConfigSchema.parse({});
  const { targets } = bindMethod(config, context);
  const rankOf = (module: string): number => patternValue(module, config.rank_pattern, config.r);
  const linear = targets.filter((module) => trace.modules.get(module)?.kind === "linear");
  const { layers, batches, close } = openInputs(rows, new Set(linear), eva, runtime);
  try {
    const first = await batches(1);
    const reached = linear.flatMap((module) => layers().get(module) ?? []);
    const limits = largestRanks(reached, rankOf, eva, rows);
    const budget = reached.reduce((sum, { module }) => sum + rankOf(module), 0);
    const found = new Map<string, Found>(
      [...limits.keys()].map((input) => [input, { state: null, still: [], settled: false }]),
    );
    let ranks = new Map(reached.map(({ module, input }) => [module, limits.get(input)!]));
    for (let pass = 1; pass <= PASS_LIMIT; pass++) {
      for (const [input, each] of found) {
        const needed = ranks.get(input)!;
        each.settled = Array.from({ length: needed }, (_, i) => each.still[i] === true).every(Boolean);
      }
      if ([...found.values()].every(({ settled }) => settled)) break;
      const inputs = pass === 1 ? first : await batches(pass);
      for (const [input, each] of found) {
        if (!each.settled) look(input, each, inputs(input), limits.get(input)!, eva.tau, options.seed);
      }
      if ([...found.values()].some(({ state }) => !state)) continue;
      ranks = shareRanks(reached, (input) => found.get(input)!.state!.ratios, budget);
    }
    if ([...found.values()].some(({ state }) => !state)) {
      throw new DataError(
        `init_lora_weights eva: no pass of ${options.batchSize} rows has as many tokens as directions are sought (r times rho). Raise --batch-size, or lower r.`,
      );
    }
    const { basePrefix } = model.architecture;
    const bare = (config.task_type ?? peftTask(setup.task)) === "FEATURE_EXTRACTION";
    const nameOf = (module: string): string =>
      bare && module.startsWith(basePrefix) ? module.slice(basePrefix.length) : module;
    return {
      fields: { ...fieldsOfRanks({ ...config, eva_config: eva }, targets, ranks, nameOf), eva_config: eva },
      directions: new Map(
        reached.map(({ module, input }) => [module, directionsOf(found.get(input)!.state!, ranks.get(module)!, eva)]),
      ),
    };
  } finally {
    await close();
  }
}

/** Adds a pass's inputs to what is known of them. Passes of too few tokens say nothing. */
function look(
  input: string,
  found: Found,
  { data, width }: { data: Float32Array; width: number },
  limit: number,
  tau: number,
  seed: number,
): void {
  if (data.length / width < limit) return;
  const before = found.state;
  found.state = addRows(before, data, width, limit, randomStream(seed, hashText(`eva.${input}`)));
  if (!before) return;
  found.still = found.state.vectors.map((vector, i) => {
    const other = before.vectors[i];
    return other !== undefined && vector.reduce((sum, value, j) => sum + value * other[j]!, 0) >= tau;
  });
}

/** Most directions of each input: r·rho of the layer with the largest rank that reads it. */
function largestRanks(
  layers: readonly EvaLayer[],
  rankOf: (module: string) => number,
  { rho }: EvaConfig,
  { common: { setup } }: PreparedRows,
): Map<string, number> {
  const limits = new Map<string, number>();
  for (const { module, input } of layers) {
    const limit = Math.max(limits.get(input) ?? 0, roundHalfToEven(rankOf(module) * rho));
    const layer = setup.trace.modules.get(module)!;
    const width = layer.kind === "linear" ? layer.spec.in : 0;
    if (limit > width) {
      throw new UsageError(
        `init_lora_weights eva: rank ${rankOf(module)} times rho ${rho} is more than the ${width} inputs of ${module}. Lower r, or eva_config's rho.`,
      );
    }
    limits.set(input, limit);
  }
  return limits;
}

/** As Python rounds. */
function roundHalfToEven(value: number): number {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + (below % 2) : Math.round(value);
}

function directionsOf({ vectors, values }: PcaState, rank: number, { whiten }: EvaConfig): Float32Array {
  return Float32Array.from(
    vectors.slice(0, rank).flatMap((vector, i) => {
      const divisor = whiten ? Math.sqrt(values[i]!) : 1;
      return Array.from(vector, (value) => value / divisor);
    }),
  );
}

interface LayerInputs {
  /** Layers that a pass has reached, by module; known after the first one. */
  layers(): ReadonlyMap<string, EvaLayer>;
  /** Runs the base on the rows of a step of one pass, and gives the counted tokens' inputs by layer [tokens, width]. */
  batches(step: number): Promise<(input: string) => { data: Float32Array; width: number }>;
  close(): Promise<void>;
}

function openInputs(
  { options, common: { setup, data } }: PreparedRows,
  modules: ReadonlySet<string>,
  { use_label_mask: masked }: EvaConfig,
  runtime: Runtime,
): LayerInputs {
  const layers = new Map<string, EvaLayer>();
  const facts = batchFacts(setup, undefined, options.packing);
  const order = { ...options, gradAccum: 1, rows: data.examples.length };
  const runner = createRunner({
    runtime,
    session: { threads: options.threads },
    build: (shape) =>
      layerInputsProgram(setup.model, modules, shape, (module, input) => layers.set(module, { module, input })),
  });
  return {
    layers: () => layers,
    batches: async (step) => {
      const examples = rowsOfStep(order, step).map((row) => data.examples[row]!);
      const { batch, count } = countedTokens(examples, facts, masked);
      const outputs = await runner.run(batch, new Map());
      return (input) => {
        const { data: values, shape } = outputs.get(input)!;
        const width = shape[1]!;
        return { data: (values as Float32Array).subarray(0, count * width), width };
      };
    },
    close: () => runner.close(),
  };
}

/** A batch whose head rows are its own tokens, or those with a target. */
function countedTokens(
  examples: readonly Example[],
  facts: BatchFacts,
  masked: boolean,
): { batch: Batch; count: number } {
  const batch = prepareBatch(examples, facts, 1);
  const labels = examples.flatMap((example) => textsOf(example).map((_, i) => (i === 0 ? example.labels : undefined)));
  const rows = batch.places.flatMap(({ row, start, length }) =>
    Array.from({ length }, (_, i) => i)
      .filter((i) => !masked || labels[row]?.[i] !== IGNORED)
      .map((i) => start + i),
  );
  const { M, chunks } = headShape(rows.length, 1);
  const data = new Int32Array(M);
  data.set(rows);
  return {
    batch: {
      ...batch,
      shape: { ...batch.shape, M, chunks },
      targets: new Map([["rows", { dtype: "i32", shape: [M], data }]]),
    },
    count: rows.length,
  };
}
