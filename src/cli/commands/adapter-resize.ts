/** `lowrank adapter resize` */

import { UsageError } from "../../errors.ts";
import { type Command, defineCommand } from "../command.ts";
import { showImageLora } from "../image-lora-result.ts";

const command: Command = defineCommand({
  summary: "Bring an adapter to another rank",
  usage: "PATH --r R | --energy SHARE --out DIR",
  arguments: ["PATH"],
  flags: {
    r: { type: "integer", help: "New rank of every module" },
    energy: {
      type: "number",
      value: "SHARE",
      help: "Keep this share of each update's energy (0.99), at the least rank",
    },
    out: { type: "string", value: "DIR", required: true, help: "Folder for the resized adapter" },
    model: { type: "string", value: "DIR", help: "The pipeline of a LoRA file of Stable Diffusion" },
  },
  run: async ({ arguments: [adapter], flags: { r, energy, out, model }, output }) => {
    if (model !== undefined) {
      if (r === undefined) throw new UsageError("Files of Stable Diffusion are resized to a rank. Give --r.");
      const [{ resizeImageLora }, { locateModel }] = await Promise.all([
        import("../../convert/image-lora.ts"),
        import("../../models/locate.ts"),
      ]);
      const done = resizeImageLora({ adapter: adapter!, rank: r, out, model: locateModel(model) });
      showImageLora(done, output, `Resized, keeping ${(100 * done.energy).toFixed(2)} % of the energy`);
      return 0;
    }
    const { resizeAdapter } = await import("../../convert/resize.ts");
    const result = resizeAdapter({
      adapter: adapter!,
      out,
      ...(r === undefined ? {} : { rank: r }),
      ...(energy === undefined ? {} : { energy }),
    });
    output.result(
      result,
      () =>
        `Resized into ${result.out} (rank ${result.r}, ${result.parameters} of ${result.parametersBefore} parameters). ` +
        `It holds ${(100 * result.energy).toFixed(2)} % of the energy, at least ${(100 * result.leastEnergy).toFixed(2)} % in each module.`,
    );
    return 0;
  },
});

export default command;
