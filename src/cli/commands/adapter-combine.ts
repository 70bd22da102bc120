/** `lowrank adapter combine` */

import { UsageError } from "../../errors.ts";
import { adapterArguments } from "../adapter-argument.ts";
import { type Command, defineCommand } from "../command.ts";
import { showImageLora } from "../image-lora-result.ts";

const command: Command = defineCommand({
  summary: "Combine adapters of one base into one",
  usage: "PATH[@WEIGHT] … --out DIR [options]",
  arguments: ["PATH…"],
  flags: {
    out: { type: "string", value: "DIR", required: true, help: "Folder for the combined adapter" },
    type: { type: "string", value: "TYPE", shown: "cat", help: "How, by PEFT's names; see below" },
    r: { type: "integer", help: "Rank of types that end in svd (the largest of the adapters)" },
    density: { type: "number", help: "Share of elements kept by ties, dare and magnitude_prune" },
    majoritySign: { type: "string", choices: ["total", "frequency"], shown: "total", help: "Sign that ties elects" },
    seed: { type: "integer", shown: "0", help: "What dare drops" },
    model: { type: "string", value: "DIR", help: "The pipeline of LoRA files of Stable Diffusion" },
  },
  notes: `Types:
  cat                  exact: the weighted sum of the updates; ranks add up
  svd                  the best approximation of that sum at rank --r
  linear, ties, dare_linear, dare_ties, magnitude_prune
                       as PEFT: on A and B apart, which is no sum of the updates
  ties_svd, dare_linear_svd, dare_ties_svd, magnitude_prune_svd
                       the same rules on whole updates, then cut to rank --r

  lowrank adapter combine french@0.7 formal@0.3 --out both`,
  run: async ({ arguments: paths, flags: { out, type, r, density, majoritySign, seed, model }, output }) => {
    if (model !== undefined) {
      if (type !== undefined && type !== "cat") {
        throw new UsageError(`--type ${type}: files of Stable Diffusion are combined by cat, which is exact.`);
      }
      const [{ combineImageLora }, { locateModel }] = await Promise.all([
        import("../../convert/image-lora.ts"),
        import("../../models/locate.ts"),
      ]);
      const adapters = paths.flatMap((path) => adapterArguments([path]));
      showImageLora(combineImageLora({ adapters, out, model: locateModel(model) }), output, "Combined");
      return 0;
    }
    const { combineAdapters } = await import("../../convert/combine.ts");
    const result = combineAdapters({
      adapters: paths.flatMap((path) => adapterArguments([path])),
      out,
      ...(type === undefined ? {} : { type }),
      ...(r === undefined ? {} : { rank: r }),
      ...(density === undefined ? {} : { density }),
      ...(majoritySign === undefined ? {} : { majoritySign: majoritySign as "total" }),
      ...(seed === undefined ? {} : { seed }),
    });
    output.result(result, () => {
      const energy =
        result.energy === null ? "" : ` It holds ${(100 * result.energy).toFixed(2)} % of the sum's energy.`;
      return `Combined into ${result.out} (${result.type}, rank ${result.r}, ${result.modules} modules).${energy}`;
    });
    return 0;
  },
});

export default command;
