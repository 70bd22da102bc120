/** The arithmetics that a frozen base can be computed in. */

import { UsageError } from "../errors.ts";
import { defaultCacheFolder } from "../files/cache-folder.ts";
import type { Model } from "../models/open.ts";
import type { Runtime } from "../runtime/session.ts";
import type { QuantType } from "./blocks.ts";
import { quantiseModel } from "./cache.ts";
import { type ChannelSizes, findUnevenInputs, type Settled } from "./calibrate.ts";
import { int4Model } from "./int4-cache.ts";
import { byteLevels } from "./levels.ts";
import { nativeModel } from "./native.ts";

/** "native": the blocks of a GGUF file as they are. */
export const PRECISIONS = ["fp32", "int8", "int4", "native"] as const;

export type Precision = (typeof PRECISIONS)[number];

export interface PrecisionOptions {
  readonly precision: Precision;
  /** Folder for quantised copies of bases; null: ~/.cache/lowrank. */
  readonly cacheDir: string | null;
  /** What four bits stand for. */
  readonly quantType: QuantType;
  /** For decoding: faster kernels, which round activations, too. */
  readonly decoding?: boolean;
}

/** A precision's options where none are given. */
export const QUANT_TYPE: QuantType = "int4";

/** Throws UsageError for a precision that a device has no kernels for. */
export function refuseOnDevice(precision: Precision, runtime: Runtime): void {
  if (!runtime.memory || precision === "fp32") return;
  throw new UsageError(
    `--precision ${precision} is computed on the CPU alone, found --device webgpu. Use --precision fp32 there, or --device cpu.`,
  );
}

/** The settled model with its frozen layers in this arithmetic; `runtime` finds out what a copy in eight bits rests on. */
export async function atPrecision(settled: Settled, options: PrecisionOptions, runtime: Runtime): Promise<Model> {
  const { model, trace } = settled;
  const { precision, quantType, decoding = false } = options;
  if (precision === "fp32") return model;
  if (precision === "native") return nativeModel(model, trace, { decoding });
  const cacheDir = options.cacheDir ?? defaultCacheFolder();
  if (precision === "int4") return int4Model(model, trace, { cacheDir, quantType, decoding });
  const uneven = (): Promise<ChannelSizes> => findUnevenInputs(settled, runtime);
  return quantiseModel(model, trace, { cacheDir, levels: await byteLevels(runtime), uneven });
}
