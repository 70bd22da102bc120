/** `lowrank generate` */

import { UsageError } from "../../errors.ts";
import { readTextFile } from "../../files/text-file.ts";
import type { ChatRequest } from "../../generate/chat.ts";
import type { GenerateOptions } from "../../generate/generate.ts";
import { QUANT_TYPES, type QuantType } from "../../precision/blocks.ts";
import { PRECISIONS, type Precision } from "../../precision/precision.ts";
import { DEVICES, type Device } from "../../runtime/session.ts";
import { adapterArguments } from "../adapter-argument.ts";
import { cacheFolder } from "../cache-folder.ts";
import { type Command, defineCommand } from "../command.ts";
import { defaultThreads } from "../threads.ts";

const command: Command = defineCommand({
  summary: "Generate text with a model and its adapters",
  usage: "--model DIR --prompt TEXT [--adapter [NAME=]PATH[@WEIGHT] …] [options]",
  flags: {
    model: {
      type: "string",
      value: "DIR",
      required: true,
      help: "Base: a Hugging Face folder, a .gguf file, or embedded:NAME",
    },
    adapter: {
      type: "repeated",
      value: "[NAME=]PATH[@WEIGHT]",
      help: "A PEFT folder; several are applied as a weighted sum",
    },
    prompt: { type: "string", value: "TEXT", help: "Text to go on from, used as it is" },
    chat: { type: "boolean", help: "Take the prompt as a user's message, in the model's chat template" },
    messages: { type: "string", value: "FILE", help: "JSON messages for the chat template instead of a prompt" },
    maxTokens: { type: "integer", help: "Most tokens to generate" },
    temperature: { type: "number", help: "Divides the scores before drawing; 0 takes the best token" },
    topK: { type: "integer", help: "Draw from this many best tokens; 0 takes all" },
    topP: { type: "number", help: "Draw from the best tokens whose probabilities reach this sum" },
    minP: { type: "number", help: "Draw from tokens with this share of the best one's probability" },
    repetitionPenalty: { type: "number", help: "Above 1 makes tokens that occurred less likely" },
    presencePenalty: { type: "number", help: "Taken off the scores of tokens that the completion holds" },
    frequencyPenalty: { type: "number", help: "The same for each time that it holds them" },
    beams: { type: "integer", help: "Beam search over so many sequences" },
    lengthPenalty: { type: "number", help: "Of beams: above 0 favours long completions" },
    noRepeatNgram: { type: "integer", help: "Of beams: no run of so many tokens occurs twice; 0 allows all" },
    seed: { type: "integer", help: "Fixes the draws" },
    stop: { type: "repeated", value: "TEXT", help: "Ends the completion before this text; may be given several times" },
    precision: { type: "string", help: "Arithmetic of the base (fp32)", choices: PRECISIONS },
    quantType: { type: "string", help: "What --precision int4 holds weights as (int4)", choices: QUANT_TYPES },
    device: { type: "string", help: "Where to compute", choices: DEVICES },
    threads: { type: "integer", help: "Threads to compute with (one a core)" },
  },
  defaults: async () => (await import("../../generate/generate.ts")).GENERATE_DEFAULTS,
  notes: "Example: lowrank generate --model embedded:NAME --prompt 'Once upon a time' --adapter runs/tales@0.7",
  run: async ({ flags, output }) => {
    const [{ loadBase }, { parseChat }, { runtimeOn }] = await Promise.all([
      import("../../generate/load.ts"),
      import("../../generate/chat.ts"),
      import("../../runtime/devices.ts"),
    ]);
    const {
      model,
      adapter,
      prompt,
      chat = false,
      messages,
      threads = defaultThreads(),
      device,
      precision,
      quantType,
      ...rest
    } = flags;
    const asked = promptOf({ prompt, chat, messages }, parseChat);
    const on = (device as Device | undefined) ?? "cpu";
    const base = await loadBase(
      model,
      {
        threads,
        cacheDir: cacheFolder(),
        ...(precision === undefined ? {} : { precision: precision as Precision }),
        ...(quantType === undefined ? {} : { quantType: quantType as QuantType }),
      },
      runtimeOn(on),
    );
    try {
      const adapters = [];
      for (const { path, weight } of adapterArguments(adapter))
        adapters.push([await base.adapter(path), weight] as const);
      if (!("prompt" in asked)) {
        const { templateWarning } = await import("../../data/provenance.ts");
        for (const { path } of adapterArguments(adapter)) {
          const warning = templateWarning(path, base.tokenizer);
          if (warning !== null) output.note(`Warning: ${warning}`);
        }
      }
      const pieces = base.generate({ ...asked, ...rest, adapters } as GenerateOptions);
      for (;;) {
        const { done, value } = await pieces.next();
        if (!done) {
          if (!output.json) process.stdout.write(value.text);
          continue;
        }
        const speed = `${value.completionTokens} tokens, ${value.tokensPerSecond.toFixed(1)} a second, first after ${Math.round(value.firstTokenMs)} ms`;
        if (output.json) output.result(value, () => "");
        else {
          process.stdout.write("\n");
          if (process.stderr.isTTY) output.note(output.style.dim(speed));
        }
        return;
      }
    } finally {
      await base.close();
    }
  },
});

export default command;

interface Asked {
  readonly prompt: string | undefined;
  readonly chat: boolean;
  readonly messages: string | undefined;
}

/** The prompt or the messages. Throws UsageError unless the flags name exactly one. */
function promptOf(
  { prompt, chat, messages }: Asked,
  parseChat: (value: unknown, where: string) => ChatRequest,
): { readonly prompt: string } | ChatRequest {
  if ((prompt === undefined) === (messages === undefined)) {
    throw new UsageError("lowrank generate needs --prompt TEXT or --messages FILE, one of them.");
  }
  if (messages !== undefined) return parseChat(readJson(messages), messages);
  return chat ? { messages: [{ role: "user", content: prompt! }] } : { prompt: prompt! };
}

function readJson(path: string): unknown {
  const text = readTextFile(path);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${path}: no JSON (${error instanceof Error ? error.message : error}).`);
  }
}
