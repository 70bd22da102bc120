/** `lowrank embed` */

import { UsageError } from "../../errors.ts";
import { PRECISIONS, type Precision } from "../../precision/precision.ts";
import { adapterArguments } from "../adapter-argument.ts";
import { cacheFolder } from "../cache-folder.ts";
import { type Command, defineCommand } from "../command.ts";
import { defaultThreads } from "../threads.ts";

const command: Command = defineCommand({
  summary: "Turn texts into vectors",
  usage: "--model DIR (--text TEXT … | --data FILE) [--adapter [NAME=]PATH[@WEIGHT] …] [options]",
  flags: {
    model: { type: "string", value: "DIR", required: true, help: "Base: a Hugging Face folder, or embedded:NAME" },
    text: { type: "repeated", value: "TEXT", help: "A text; may be given several times" },
    data: { type: "string", value: "FILE", help: 'Rows of {"text"} or {"sentence"}, JSONL' },
    adapter: {
      type: "repeated",
      value: "[NAME=]PATH[@WEIGHT]",
      help: "A PEFT folder; several are applied as a weighted sum",
    },
    out: {
      type: "string",
      value: "FILE",
      help: "Write the vectors to this safetensors file: embeddings [texts, width]",
    },
    maxLength: { type: "integer", help: "Tokens a text; longer ones are cut (what the model's folder says)" },
    precision: { type: "string", help: "Arithmetic of the base", choices: PRECISIONS, shown: "fp32" },
    threads: { type: "integer", help: "Threads to compute with (one a core)" },
  },
  run: async ({ flags, output }) => {
    const { text = [], data, adapter, out, precision, ...rest } = flags;
    const [{ embedHere }, { nodeRuntime }, { writeSafetensors }, { readTexts }] = await Promise.all([
      import("../../evaluate/embed.ts"),
      import("../../runtime/node.ts"),
      import("../../files/safetensors.ts"),
      import("../../data/read-texts.ts"),
    ]);
    const texts = [...text, ...(data === undefined ? [] : readTexts(data))];
    if (texts.length === 0) throw new UsageError("lowrank embed needs --text TEXT or --data FILE.");
    const { vectors, dimensions, tokens } = await embedHere(
      {
        threads: defaultThreads(),
        cacheDir: cacheFolder(),
        ...rest,
        texts,
        adapters: adapterArguments(adapter),
        precision: (precision as Precision | undefined) ?? "fp32",
        onWarning: (message) => output.note(`Warning: ${message}`),
      },
      nodeRuntime,
    );
    const facts = { texts: vectors.length, dimensions, tokens };
    if (out !== undefined) {
      const values = new Float32Array(vectors.length * dimensions);
      for (const [i, vector] of vectors.entries()) values.set(vector, i * dimensions);
      writeSafetensors(out, [["embeddings", { dtype: "f32", shape: [vectors.length, dimensions], data: values }]]);
      output.result({ ...facts, out }, () => `${facts.texts} vectors of ${dimensions} numbers in ${out}`);
      return;
    }
    const embeddings = vectors.map((vector) => Array.from(vector));
    output.result({ ...facts, embeddings }, () =>
      embeddings.map((vector) => vector.map((value) => value.toPrecision(8)).join(" ")).join("\n"),
    );
  },
});

export default command;
