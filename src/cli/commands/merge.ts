/** `lowrank merge` */

import type { FloatType } from "../../adapters/merge.ts";
import { UsageError } from "../../errors.ts";
import { GGUF_TYPES, type GgufType } from "../../gguf/export.ts";
import { QUANT_TYPES, type QuantType } from "../../precision/blocks.ts";
import { adapterArguments } from "../adapter-argument.ts";
import { cacheFolder } from "../cache-folder.ts";
import { type Command, defineCommand } from "../command.ts";
import { IMAGE_MODEL_FLAGS, type ImageModelFlags, imageModel } from "../image-model.ts";
import type { Output } from "../output.ts";
import { defaultThreads } from "../threads.ts";

const command: Command = defineCommand({
  summary: "Write a model with adapters merged into it",
  usage: "--model DIR --adapter [NAME=]PATH[@WEIGHT] … --out DIR [options]",
  flags: {
    model: {
      type: "string",
      value: "DIR",
      required: true,
      help: "Base: a Hugging Face or diffusers folder, a .gguf or single-file checkpoint, or embedded:NAME",
    },
    adapter: {
      type: "repeated",
      value: "[NAME=]PATH[@WEIGHT]",
      required: true,
      help: "A PEFT folder, or a LoRA file of Stable Diffusion; several are merged as a weighted sum",
    },
    out: { type: "string", value: "DIR", required: true, help: "Folder for the merged model, or a file FILE.gguf" },
    dtype: {
      type: "string",
      help: "Type of the written weights (the checkpoint's own); q8_0 with FILE.gguf",
      choices: GGUF_TYPES,
    },
    precision: {
      type: "string",
      help: "int4 merges into what four bits stand for, for adapters trained so (fp32)",
      choices: ["fp32", "int4"],
    },
    quantType: { type: "string", help: "What --precision int4 holds weights as (int4)", choices: QUANT_TYPES },
    ...IMAGE_MODEL_FLAGS,
    threads: { type: "integer", help: "Threads to compute with (one a core)" },
  },
  run: async ({ flags, output }) => {
    const { model, adapter, out, dtype, threads = defaultThreads(), precision, quantType } = flags;
    if (await isImageModel(model)) return mergeImages(flags, output);
    const [{ mergeHere }, { nodeRuntime }] = await Promise.all([
      import("../../merge/merge.ts"),
      import("../../runtime/node.ts"),
    ]);
    const result = await mergeHere(
      {
        model,
        adapters: adapterArguments(adapter),
        out,
        dtype: (dtype as GgufType | undefined) ?? null,
        threads,
        cacheDir: cacheFolder(),
        ...(precision === undefined ? {} : { precision: precision as "fp32" | "int4" }),
        ...(quantType === undefined ? {} : { quantType: quantType as QuantType }),
        onWarning: (message) => output.note(`Warning: ${message}`),
      },
      nodeRuntime,
    );
    output.result(
      result,
      () =>
        `Merged into ${result.out} (${result.dtype}). Largest difference of a logit: ${result.maxAbsDiff.toExponential(2)}.`,
    );
  },
});

async function isImageModel(model: string): Promise<boolean> {
  const [{ isPipeline }, { locateModel }] = await Promise.all([
    import("../../diffusion/pipeline.ts"),
    import("../../models/locate.ts"),
  ]);
  return !model.endsWith(".gguf") && isPipeline(locateModel(model));
}

interface ImageMergeFlags extends ImageModelFlags {
  readonly adapter: readonly string[];
  readonly out: string;
  readonly dtype?: string | undefined;
  readonly precision?: string | undefined;
  readonly threads?: number | undefined;
}

async function mergeImages(flags: ImageMergeFlags, output: Output): Promise<undefined> {
  const { adapter, out, dtype = null, threads = defaultThreads() } = flags;
  if (dtype === "q8_0" || out.endsWith(".gguf") || flags.precision !== undefined) {
    throw new UsageError("A diffusion pipeline is merged into a folder: --out DIR, with --dtype f32, f16 or bf16.");
  }
  const [{ mergePipelineHere }, { nodeRuntime }] = await Promise.all([
    import("../../merge/merge-pipeline.ts"),
    import("../../runtime/node.ts"),
  ]);
  const base = await imageModel(flags);
  const onWarning = (message: string): void => output.note(`Warning: ${message}`);
  const adapters = adapterArguments(adapter);
  const input = { ...base, adapters, out, dtype: dtype as FloatType | null, threads, onWarning };
  const result = await mergePipelineHere(input, nodeRuntime);
  output.result(
    result,
    () =>
      `Merged into ${out}. Largest difference to base and adapters: ${Object.entries(result.components)
        .map(([component, difference]) => `${difference.toExponential(2)} (${component})`)
        .join(", ")}.`,
  );
}

export default command;
