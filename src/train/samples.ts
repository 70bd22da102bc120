/** Texts that the model in training writes on its way, so that one sees what a loss means. */

import { existsSync, readFileSync, statSync } from "node:fs";
import { isChat } from "../data/formats.ts";
import { DataError, messageOf, UsageError } from "../errors.ts";
import { mountedSet } from "../generate/adapter-set.ts";
import { parseChat } from "../generate/chat.ts";
import { endTokens } from "../generate/end-tokens.ts";
import { createEngine } from "../generate/engine.ts";
import { createForms } from "../generate/form.ts";
import { generateTokens, type Prompt } from "../generate/generate.ts";
import { createPrefixCache } from "../generate/prefix-cache.ts";
import { createScheduler } from "../generate/scheduler.ts";
import { NO_VIRTUAL } from "../program/layout.ts";
import type { MountedAdapter } from "../program/program.ts";
import { demandTokenizer, type Setup } from "../program/setup.ts";
import type { Runtime, SessionOptions } from "../runtime/session.ts";
import type { SampleEvent } from "./events.ts";
import type { Trained } from "./gradients.ts";
import type { TrainOptions } from "./options.ts";
import type { Prepared } from "./prepare.ts";

interface SamplePrompt {
  /** As reports show it. */
  readonly shown: string;
  readonly prompt: Prompt;
}

export interface Sampler {
  samples(step: number, parameters: Trained): AsyncGenerator<SampleEvent>;
}

interface SamplerOptions {
  readonly runtime: Runtime;
  readonly session: SessionOptions;
  readonly setup: Setup;
  readonly adapter: MountedAdapter;
}

/** Null when no prompts are given. Throws UsageError for a model that writes no text, DataError for a wrong file. */
export function createSampler(
  { samplePrompts, sampleTokens: maxTokens }: TrainOptions,
  { data }: Pick<Prepared, "data">,
  { runtime, session, setup, adapter }: SamplerOptions,
): Sampler | null {
  if (samplePrompts === null) return null;
  if (setup.task !== "causal-lm") {
    throw new UsageError(`--sample-prompts: a model for ${setup.task} writes no text. Leave the flag away.`);
  }
  demandTokenizer(setup);
  const prompts = readPrompts(samplePrompts, isChat(data.format));
  const ends = endTokens(setup);
  const forms = createForms(setup, ends);
  return {
    samples: async function* (step, parameters) {
      const engine = createEngine({ ...setup, runtime, session, holdBytes: 0 });
      const virtual = adapter.method.virtual ?? NO_VIRTUAL;
      const set = mountedSet("training", adapter, parameters, virtual);
      const scheduler = createScheduler(engine, { rows: 1, tokens: Number.POSITIVE_INFINITY });
      const generation = { base: setup, engine, scheduler, prefixes: createPrefixCache(0), ends, forms, set };
      try {
        for (const { shown, prompt } of prompts) {
          const pieces = generateTokens(generation, { ...prompt, maxTokens });
          for (;;) {
            const { done, value } = await pieces.next();
            if (!done) continue;
            yield { event: "sample", step, prompt: shown, text: value.text };
            break;
          }
        }
      } finally {
        await engine.close(); // its sessions map the weights a second time
      }
    },
  };
}

/** `chat`: plain prompts are what a user says, as in the rows. */
function readPrompts(given: string, chat: boolean): SamplePrompt[] {
  const plain = (text: string): SamplePrompt => ({
    shown: text,
    prompt: chat ? { messages: [{ role: "user", content: text }] } : { prompt: text },
  });
  if (!existsSync(given) || !statSync(given).isFile()) return [plain(given)];
  const lines = readFileSync(given, "utf8")
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/);
  const prompts = lines.flatMap((line, i) => {
    if (line.trim() === "") return [];
    if (!line.trimStart().startsWith("{")) return [plain(line)];
    const where = `${given}:${i + 1}`;
    const value = parsed(line, where);
    if (typeof value["prompt"] === "string") return [plain(value["prompt"])];
    const request = parseChat(value, where);
    const last = request.messages.at(-1)!.content;
    return [{ shown: typeof last === "string" ? last : JSON.stringify(last), prompt: request }];
  });
  if (prompts.length === 0) throw new DataError(`${given}: no prompts. Write one a line.`);
  return prompts;
}

function parsed(line: string, where: string): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch (error) {
    throw new DataError(
      `${where}: ${messageOf(error)}. Write a prompt as text, or as JSON with "prompt" or "messages".`,
    );
  }
}
