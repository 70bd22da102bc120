/** The arithmetics that a frozen base can be computed in. */

import { homedir } from "node:os";
import { join } from "node:path";
import type { Model } from "../models/open.ts";
import type { ModelTrace } from "../models/trace.ts";
import { quantiseModel } from "./cache.ts";
import type { Levels } from "./levels.ts";

export const PRECISIONS = ["fp32", "int8"] as const;

export type Precision = (typeof PRECISIONS)[number];

export interface PrecisionOptions {
  readonly precision: Precision;
  /** Folder for quantised copies of bases; null: ~/.cache/lowrank. */
  readonly cacheDir: string | null;
  readonly levels: Levels;
}

/** The model with its frozen layers in this arithmetic. */
export function atPrecision(model: Model, trace: ModelTrace, { precision, cacheDir, levels }: PrecisionOptions): Model {
  if (precision === "fp32") return model;
  return quantiseModel(model, trace, { cacheDir: cacheDir ?? join(homedir(), ".cache", "lowrank"), levels });
}
