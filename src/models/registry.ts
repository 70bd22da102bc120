/** The architectures, by config.json's `model_type`. */

import { ModelError } from "../errors.ts";
import type { Architecture } from "./architecture.ts";
import { bert } from "./bert.ts";
import { deberta } from "./deberta.ts";
import { debertaV2 } from "./deberta-v2.ts";
import { distilbert } from "./distilbert.ts";
import { electra } from "./electra.ts";
import { gemma } from "./gemma.ts";
import { gemma2 } from "./gemma2.ts";
import { gemma3Text } from "./gemma3-text.ts";
import { gptNeox } from "./gpt-neox.ts";
import { gpt2 } from "./gpt2.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { olmo2 } from "./olmo2.ts";
import { phi } from "./phi.ts";
import { phi3 } from "./phi3.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";
import { roberta } from "./roberta.ts";
import { smollm3 } from "./smollm3.ts";

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
  gemma,
  gemma2,
  gemma3Text,
  gptNeox,
  mistral,
  olmo2,
  phi,
  phi3,
  qwen2,
  qwen3,
  smollm3,
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
