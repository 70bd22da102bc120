/** `lowrank adapter extract` */

import { type Command, defineCommand } from "../command.ts";

const command: Command = defineCommand({
  summary: "Make an adapter of what full fine-tuning changed",
  usage: "--base DIR --tuned DIR --r R --out DIR",
  flags: {
    base: { type: "string", value: "DIR", required: true, help: "The base: a Hugging Face folder, or embedded:NAME" },
    tuned: { type: "string", value: "DIR", required: true, help: "The model that was fine-tuned from it" },
    r: { type: "integer", required: true, help: "Rank of the adapter" },
    out: { type: "string", value: "DIR", required: true, help: "Folder for the adapter" },
  },
  run: async ({ flags: { base, tuned, r, out }, output }) => {
    const [{ extractAdapter }, { locateModel }] = await Promise.all([
      import("../../convert/extract.ts"),
      import("../../models/locate.ts"),
    ]);
    const result = extractAdapter({
      base: locateModel(base),
      tuned: locateModel(tuned),
      rank: r,
      out,
      baseName: base,
      onProgress: (module, done, of) => output.progress(`${done} of ${of}: ${module}`),
    });
    output.result(
      result,
      () =>
        `Extracted into ${result.out} (rank ${result.r}, ${result.modules} modules). ` +
        `It holds ${(100 * result.energy).toFixed(2)} % of their change's energy, at least ${(100 * result.leastEnergy).toFixed(2)} % of each.` +
        (result.left.length > 0
          ? `\nChanged too, and not in the adapter: ${result.left.slice(0, 10).join(", ")}${result.left.length > 10 ? ` and ${result.left.length - 10} more` : ""}.`
          : ""),
    );
  },
});

export default command;
