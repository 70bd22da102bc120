/** What the computing thread can do with its model. */

import { UsageError } from "../errors.ts";
import type { EngineFacts, EngineLoad, GenerateCall, LoadedFacts, ServedCompletion, ServedPiece } from "./protocol.ts";

export interface ServedEngine {
  readonly facts: EngineFacts;
  load(): EngineLoad;
  loadAdapter(adapter: number, path: string): Promise<LoadedFacts>;
  dropAdapter(adapter: number): void;
  generate(call: GenerateCall, signal: AbortSignal): AsyncGenerator<ServedPiece, ServedCompletion>;
  /** A vector a text, and the tokens of all of them. */
  embed(
    texts: readonly string[],
    adapters: GenerateCall["adapters"],
  ): Promise<{ readonly vectors: readonly Float32Array[]; readonly tokens: number }>;
  close(): Promise<void>;
}

/** A function that a model of another kind has not. */
export function refusing(message: string): () => never {
  return () => {
    throw new UsageError(message);
  };
}
