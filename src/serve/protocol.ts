/** What the server's thread and the thread that computes say to each other. */

import type { Completion, CompletionOptions } from "../generate/generate.ts";
import type { AdapterMode } from "../generate/modes.ts";
import type { ToolFormat } from "../generate/tool-format.ts";
import type { Precision } from "../precision/precision.ts";
import type { WireError } from "../wire-error.ts";

/** What to go on from. */
export type ServedPrompt =
  | { readonly prompt: string }
  | { readonly tokenIds: readonly number[] }
  | { readonly messages: readonly Message[]; readonly tools?: readonly unknown[] };

export interface Message {
  readonly role: string;
  readonly content?: unknown;
  readonly [field: string]: unknown;
}

export interface EngineSettings {
  readonly model: string;
  readonly threads: number;
  /** Completions computed together. */
  readonly rows: number;
  /** Tokens that they hold together. */
  readonly cacheTokens: number;
  readonly prefixBytes: number;
  /** Longest prompt with its completion, in tokens; null: the model's own limit. */
  readonly maxLength: number | null;
  /** Highest rank of an adapter. */
  readonly maxRank: number;
  readonly mode?: AdapterMode;
  /** Arithmetic of the base. Default fp32. */
  readonly precision?: Precision;
  /** Folder for quantised copies. Default null: ~/.cache/lowrank. */
  readonly cacheDir?: string | null;
  /** The set of every request, in the modes that have one. */
  readonly fixed?: readonly (readonly [path: string, weight: number])[];
}

export interface GenerateCall {
  readonly prompt: ServedPrompt;
  readonly options: CompletionOptions;
  /** Numbers of loaded adapters, and their weights. */
  readonly adapters: readonly (readonly [adapter: number, weight: number])[];
}

export type ToEngine =
  | { readonly kind: "load"; readonly call: number; readonly adapter: number; readonly path: string }
  | { readonly kind: "drop"; readonly adapter: number }
  | ({ readonly kind: "generate"; readonly call: number } & GenerateCall)
  | {
      readonly kind: "embed";
      readonly call: number;
      readonly texts: readonly string[];
      readonly adapters: GenerateCall["adapters"];
    }
  | { readonly kind: "cancel"; readonly call: number }
  | { readonly kind: "close" };

export interface EngineFacts {
  readonly name: string;
  readonly folder: string;
  /** Longest prompt with its completion, in tokens. */
  readonly maxLength: number;
  readonly kind: "text" | "embedding";
  /** How it writes calls of tools; null when that cannot be told. */
  readonly toolFormat: ToolFormat | null;
}

export interface LoadedFacts {
  readonly bytes: number;
  /** Rank of its widest branch; null for methods without one. */
  readonly rank: number | null;
  /** Hash of its files: equal ones hold the same adapter. */
  readonly content: string;
}

/** A token of a completion as text, with the probabilities that were asked for. */
export interface NamedToken {
  readonly text: string;
  readonly logprob: number;
  readonly top: readonly { readonly text: string; readonly logprob: number }[];
}

export interface ServedPiece {
  readonly text: string;
  readonly tokens: number;
  readonly logprobs?: readonly NamedToken[];
}

export type ServedCompletion = Pick<Completion, "promptTokens" | "completionTokens" | "finishReason">;

export interface EngineLoad {
  readonly running: number;
  readonly waiting: number;
  readonly cacheBytes: number;
  readonly prefixHits: number;
}

export type FromEngine =
  | { readonly kind: "ready"; readonly facts: EngineFacts }
  | { readonly kind: "failed"; readonly error: WireError }
  | { readonly kind: "loaded"; readonly call: number; readonly facts: LoadedFacts }
  | { readonly kind: "piece"; readonly call: number; readonly piece: ServedPiece }
  | { readonly kind: "done"; readonly call: number; readonly completion: ServedCompletion; readonly load: EngineLoad }
  | {
      readonly kind: "embedded";
      readonly call: number;
      readonly vectors: readonly Float32Array[];
      readonly tokens: number;
    }
  | { readonly kind: "error"; readonly call: number; readonly error: WireError };
