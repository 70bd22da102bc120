/** `lowrank adapter convert` */

import { UsageError } from "../../errors.ts";
import { type Command, defineCommand } from "../command.ts";

const command: Command = defineCommand({
  summary: "Convert an adapter from or to another tool's files",
  usage: "PATH --to peft|gguf|mlx --out PATH [options]",
  arguments: ["PATH"],
  flags: {
    to: { type: "string", required: true, choices: ["peft", "gguf", "mlx"], help: "What to write" },
    out: { type: "string", value: "PATH", required: true, help: "Folder to write; for gguf a file" },
    model: { type: "string", value: "DIR", help: "The base, which GGUF's names and order depend on" },
    alpha: { type: "number", help: "lora_alpha, for files of loralib, which lack it" },
    enableLora: {
      type: "list",
      value: "true,false,true",
      help: "Adapted slices of fused layers, for files of loralib",
    },
  },
  notes: `PATH is a folder of PEFT or mlx-lm, a .gguf adapter of llama.cpp, or a .pt or .bin file of loralib
(read without running the pickle).

  lowrank adapter convert mine --to gguf --model base --out mine.gguf
  lowrank adapter convert gpt2_md_lora_e2e.pt --alpha 32 --to peft --out e2e`,
  run: async ({ arguments: [adapter], flags: { to, out, model, alpha, enableLora }, output }) => {
    const [{ convertAdapter }, { locateModel }] = await Promise.all([
      import("../../convert/convert.ts"),
      import("../../models/locate.ts"),
    ]);
    const result = convertAdapter({
      adapter: adapter!,
      to: to as "peft",
      out,
      model: model === undefined ? undefined : locateModel(model),
      alpha,
      enableLora: enableLora?.map(truth),
    });
    output.result(result, () => {
      const left =
        result.left.length === 0
          ? ""
          : `\nNot taken over, for they are no factors: ${result.left.slice(0, 10).join(", ")}${result.left.length > 10 ? ` and ${result.left.length - 10} more` : ""}.`;
      return `Converted from ${result.from} to ${result.to}: ${result.out} (rank ${result.r}, ${result.modules} modules).${left}`;
    });
  },
});

function truth(text: string): boolean {
  if (text === "true" || text === "false") return text === "true";
  throw new UsageError(`--enable-lora: found ${text}, needed true and false between commas.`);
}

export default command;
