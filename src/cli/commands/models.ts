/** `lowrank models` */

import { type Command, defineCommand } from "../command.ts";

const command: Command = defineCommand({
  summary: "List architectures, tasks and methods",
  usage: "[options]",
  flags: {},
  run: async ({ output }) => {
    const [{ architectureRows, methodNames, modelsText }, { embeddedModels }] = await Promise.all([
      import("../models-table.ts"),
      import("../../models/locate.ts"),
    ]);
    const architectures = architectureRows();
    const embedded = embeddedModels().map((name) => `embedded:${name}`);
    output.result(
      { architectures, methods: methodNames(), embedded },
      () => `${modelsText(architectures)}\n\nEmbedded bases: ${embedded.join(", ") || "none"}`,
    );
  },
});

export default command;
