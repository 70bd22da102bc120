/**
 * `lowrank/ai`: a base with its adapters as a provider of Vercel's AI SDK, computed in this process, on a thread of its own.
 * Source of the interface: `@ai-sdk/provider` 3, specification v3 (AI SDK 6), the newest that runs on Node 20.
 */

import {
  type LanguageModelV3,
  type LanguageModelV3CallOptions,
  type LanguageModelV3StreamPart,
  NoSuchModelError,
  type ProviderV3,
} from "@ai-sdk/provider";
import { folderName } from "../files/snapshot-path.ts";
import { type BaseThread, type LoadedAdapter, startBase } from "../generate/base-thread.ts";
import type { LoadOptions } from "../generate/load.ts";
import { setNames } from "../generate/set-names.ts";
import { streamParts, wholeAnswer } from "./answer.ts";
import { callOf, type Kind } from "./call.ts";

export interface LowrankSettings extends Omit<LoadOptions, "adapters" | "mode"> {
  /** A Hugging Face folder, a GGUF file or `embedded:NAME`. */
  readonly model: string;
  /** PEFT folders by the names that models are asked for with. */
  readonly adapters?: Readonly<Record<string, string>>;
}

/** Names are adapters, with weights where wanted: `tales`, `tales@0.7,news@0.3`. Without one it is the base alone. */
export interface LowrankProvider extends ProviderV3 {
  /** The same as `languageModel`. */
  (name?: string): LanguageModelV3;
  /** Messages, through the model's chat template. Throws NoSuchModelError for a name that is no adapter's. */
  languageModel(name?: string): LanguageModelV3;
  /** One prompt that the model goes on from, as it stands: for models without a chat template. */
  completion(name?: string): LanguageModelV3;
  /** Frees the memory. A later call loads the model again. */
  close(): Promise<void>;
}

/**
 * The model and its adapters are loaded at the first call that needs them.
 *
 * @example
 * const lowrank = createLowrank({ model: "embedded:gpt2-tiny", adapters: { tales: "runs/tales" } });
 * const { text } = await generateText({ model: lowrank.completion("tales@0.7"), prompt: "In the evening" });
 * await lowrank.close();
 */
export function createLowrank(settings: LowrankSettings): LowrankProvider {
  const { model, adapters: folders = {}, ...options } = settings;
  const baseName = folderName(model.replace(/^embedded:/, ""));
  const bases = lazily(async () => {
    const base = await startBase(model, options);
    return { base, adapters: new Map<string, Promise<LoadedAdapter>>() };
  });

  const make = (name: string, kind: Kind): LanguageModelV3 => {
    const set = name === baseName ? [] : setNames(name);
    if (!set?.every(([each]) => Object.hasOwn(folders, each))) {
      const known = [baseName, ...Object.keys(folders)].join(", ");
      const message = `There is no model ${name}. There are ${known}, and weighted sums of adapters: a@0.7,b@0.3.`;
      throw new NoSuchModelError({ modelId: name, modelType: "languageModel", message });
    }
    const open = async (): Promise<Opened> => {
      const { base, adapters } = await bases.get();
      const weighted = set.map(async ([each, weight]) => {
        const adapter = adapters.get(each) ?? base.adapter(folders[each]!);
        adapters.set(each, adapter);
        adapter.catch(() => adapters.delete(each)); // it may be there at the next call
        return [await adapter, weight] as const;
      });
      return { base, adapters: await Promise.all(weighted) };
    };
    return languageModel(name, kind, open);
  };

  const provider = (name: string = baseName): LanguageModelV3 => make(name, "chat");
  const refusing = (modelType: "embeddingModel" | "imageModel") => (modelId: string) => {
    throw new NoSuchModelError({ modelId, modelType });
  };
  return Object.assign(provider, {
    specificationVersion: "v3" as const,
    languageModel: provider,
    completion: (name: string = baseName) => make(name, "completion"),
    embeddingModel: refusing("embeddingModel"),
    imageModel: refusing("imageModel"),
    close: async () => {
      const held = bases.take();
      if (held) await (await held).base.close();
    },
  });
}

interface Opened {
  readonly base: BaseThread;
  readonly adapters: readonly (readonly [LoadedAdapter, number])[];
}

function languageModel(modelId: string, kind: Kind, open: () => Promise<Opened>): LanguageModelV3 {
  const begin = async (given: LanguageModelV3CallOptions, signal: AbortSignal) => {
    const { base, adapters } = await open();
    const { prompt, options, tools, warnings } = callOf(given, kind, base.toolFormat);
    signal.throwIfAborted();
    const pieces = base.generate({ ...prompt, ...options, adapters, signal });
    return { answering: { pieces, tools, signal }, warnings: [...warnings] };
  };
  return {
    specificationVersion: "v3",
    provider: "lowrank",
    modelId,
    supportedUrls: {},
    async doGenerate(given) {
      const { answering, warnings } = await begin(given, given.abortSignal ?? new AbortController().signal);
      return { ...(await wholeAnswer(answering)), warnings };
    },
    async doStream(given) {
      const left = new AbortController();
      const signal = given.abortSignal ? AbortSignal.any([given.abortSignal, left.signal]) : left.signal;
      const { answering, warnings } = await begin(given, signal);
      const parts = streamParts(answering);
      // What a call does wrong shows before its first part: it fails as a whole, not inside the stream.
      const first = await parts.next();
      return {
        stream: new ReadableStream<LanguageModelV3StreamPart>({
          start: (controller) => {
            controller.enqueue({ type: "stream-start", warnings });
            if (!first.done) controller.enqueue(first.value);
          },
          async pull(controller) {
            const { done, value } = await parts.next();
            if (done) controller.close();
            else controller.enqueue(value);
          },
          cancel: () => left.abort(),
        }),
      };
    },
  };
}

/** A value that is made when it is first asked for, and again after it was taken or could not be made. */
function lazily<T>(make: () => Promise<T>): { get(): Promise<T>; take(): Promise<T> | null } {
  let held: Promise<T> | null = null;
  return {
    get() {
      if (held) return held;
      const made = make();
      held = made;
      made.catch(() => {
        if (held === made) held = null;
      });
      return made;
    },
    take() {
      const taken = held;
      held = null;
      return taken;
    },
  };
}
