/** What the server's thread and the thread that computes say to each other. */

import type { Completion, CompletionOptions } from "../generate/generate.ts";
import type { AdapterMode } from "../generate/modes.ts";
import type { ToolFormat } from "../generate/tool-format.ts";
import type { Precision } from "../precision/precision.ts";

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

/** What the computing thread is asked. */
export interface EngineCalls {
  /** Loads the adapter of a folder under a number of the server's. */
  readonly load: { input: { readonly adapter: number; readonly path: string }; piece: never; result: LoadedFacts };
  /** Frees an adapter; calls under way keep it. */
  readonly drop: { input: number; piece: never; result: null };
  readonly generate: {
    input: GenerateCall;
    piece: ServedPiece;
    result: { readonly completion: ServedCompletion; readonly load: EngineLoad };
  };
  readonly embed: {
    input: { readonly texts: readonly string[]; readonly adapters: GenerateCall["adapters"] };
    piece: never;
    result: Embedded;
  };
}

/** A vector a text, and the tokens of all of them. */
export interface Embedded {
  readonly vectors: readonly Float32Array[];
  readonly tokens: number;
}

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
