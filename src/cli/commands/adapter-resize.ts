/** `lowrank adapter resize` */

import { type Command, defineCommand } from "../command.ts";

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
  },
  run: async ({ arguments: [adapter], flags: { r, energy, out }, output }) => {
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
  },
});

export default command;
