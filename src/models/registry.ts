/** The architectures, by config.json's `model_type`. */

import { ModelError } from "../errors.ts";
import type { Architecture } from "./architecture.ts";
import { bert } from "./bert.ts";
import { deberta } from "./deberta.ts";
import { debertaV2 } from "./deberta-v2.ts";
import { distilbert } from "./distilbert.ts";
import { electra } from "./electra.ts";
import { gpt2 } from "./gpt2.ts";
import { llama } from "./llama.ts";
import { roberta } from "./roberta.ts";

/** An architecture whose configuration type is its own affair. */
export type AnyArchitecture = Architecture;

const ARCHITECTURES: readonly AnyArchitecture[] = [
  bert,
  deberta,
  debertaV2,
  distilbert,
  electra,
  roberta,
  gpt2,
  llama,
] as readonly unknown[] as readonly AnyArchitecture[];

export function listArchitectures(): readonly AnyArchitecture[] {
  return ARCHITECTURES;
}

/** Every `model_type` that can be read. */
export function knownModelTypes(): readonly string[] {
  return ARCHITECTURES.flatMap(({ modelTypes }) => modelTypes).toSorted();
}

export function findArchitecture(modelType: unknown, where: string): AnyArchitecture {
  const found = ARCHITECTURES.find(({ modelTypes }) => modelTypes.some((name) => name === modelType));
  if (found) return found;
  throw new ModelError(
    `${where}: model_type ${JSON.stringify(modelType ?? null)} is not known. Known: ${knownModelTypes().join(", ")}.`,
  );
}
