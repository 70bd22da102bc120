/** `lowrank adapter convert` */

import { UsageError } from "../../errors.ts";
import { type Command, defineCommand } from "../command.ts";
import { showImageLora } from "../image-lora-result.ts";

const command: Command = defineCommand({
  summary: "Convert an adapter from or to another tool's files",
  usage: "PATH --to peft|gguf|mlx|kohya|diffusers --out PATH [options]",
  arguments: ["PATH"],
  flags: {
    to: {
      type: "string",
      required: true,
      choices: ["peft", "gguf", "mlx", "kohya", "diffusers"],
      help: "What to write",
    },
    out: { type: "string", value: "PATH", required: true, help: "Folder to write; for gguf a file" },
    model: { type: "string", value: "DIR", help: "The base, which names of GGUF and Stable Diffusion depend on" },
    alpha: { type: "number", help: "lora_alpha, for files of loralib, which lack it" },
    enableLora: {
      type: "list",
      value: "true,false,true",
      help: "Adapted slices of fused layers, for files of loralib",
    },
  },
  notes: `PATH is a folder of PEFT or mlx-lm, a .gguf adapter of llama.cpp, or a .pt or .bin file of loralib
(read without running the pickle). LoRA of Stable Diffusion, whoever wrote it, needs --model with the pipeline's folder.

  lowrank adapter convert mine --to gguf --model base --out mine.gguf
  lowrank adapter convert gpt2_md_lora_e2e.pt --alpha 32 --to peft --out e2e
  lowrank adapter convert style.safetensors --to diffusers --model stable-diffusion-v1-5 --out style`,
  run: async ({ arguments: [adapter], flags: { to, out, model, alpha, enableLora }, output }) => {
    const [{ convertAdapter }, { locateModel }, { isPipeline }] = await Promise.all([
      import("../../convert/convert.ts"),
      import("../../models/locate.ts"),
      import("../../diffusion/pipeline.ts"),
    ]);
    if (to === "kohya" || to === "diffusers" || (model !== undefined && isPipeline(locateModel(model)))) {
      if (model === undefined) {
        throw new UsageError(`--to ${to}: layers are named by the model they belong to. Give its folder: --model DIR.`);
      }
      const { convertImageLora, IMAGE_TARGETS } = await import("../../convert/image-lora.ts");
      const target = IMAGE_TARGETS.find((each) => each === to);
      if (!target)
        throw new UsageError(
          `--to ${to}: an adapter of Stable Diffusion has no such form. Known: ${IMAGE_TARGETS.join(", ")}.`,
        );
      const done = convertImageLora({ adapter: adapter!, to: target, out, model: locateModel(model) });
      showImageLora(done, output, "Converted");
      return 0;
    }
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
    return 0;
  },
});

function truth(text: string): boolean {
  if (text === "true" || text === "false") return text === "true";
  throw new UsageError(`--enable-lora: found ${text}, needed true and false between commas.`);
}

export default command;
