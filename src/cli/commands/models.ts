/** `lowrank models` */

import type { EmbeddedKind } from "../../files/embedded.ts";
import { type Command, defineCommand } from "../command.ts";

const command: Command = defineCommand({
  summary: "List architectures, tasks and methods",
  usage: "[options]",
  flags: {},
  run: async ({ output }) => {
    const [{ architectureRows, methodNames, modelsText }, { embeddedNames }] = await Promise.all([
      import("../models-table.ts"),
      import("../../files/embedded.ts"),
    ]);
    const architectures = architectureRows();
    const named = (kind: EmbeddedKind): string[] => embeddedNames(kind).map((name) => `embedded:${name}`);
    const [embedded, embeddedAdapters] = [named("base"), named("adapter")];
    output.result({ architectures, methods: methodNames(), embedded, embeddedAdapters }, () =>
      [
        `${modelsText(architectures)}\n`,
        `Embedded bases: ${embedded.join(", ") || "none"}`,
        `Embedded adapters: ${embeddedAdapters.join(", ") || "none"}`,
      ].join("\n"),
    );
  },
});

export default command;
