/** `lowrank models` */

import { type Command, defineCommand } from "../command.ts";
import { table } from "../output.ts";

const command: Command = defineCommand({
  summary: "List architectures, tasks and methods",
  usage: "[options]",
  flags: {},
  run: async ({ output }) => {
    const [{ listArchitectures }, { knownMethods }, { embeddedModels }, { tasksOf }] = await Promise.all([
      import("../../models/registry.ts"),
      import("../../adapters/bind.ts"),
      import("../../models/locate.ts"),
      import("../../models/architecture.ts"),
    ]);
    const methods = [...knownMethods(), "full"].map((name) => name.toLowerCase().replaceAll("_", "-"));
    const architectures = listArchitectures().flatMap((architecture) =>
      architecture.modelTypes.map((modelType) => ({
        modelType,
        tasks: tasksOf(architecture),
        defaultTargets: architecture.defaultTargets,
      })),
    );
    const embedded = embeddedModels().map((name) => `embedded:${name}`);
    output.result({ architectures, methods, embedded }, () =>
      [
        table([
          ["model_type", "tasks", "default target modules"],
          ...architectures.map(({ modelType, tasks, defaultTargets }) => [
            modelType,
            tasks.join(", "),
            defaultTargets.join(", "),
          ]),
        ]),
        "",
        `Methods: ${methods.join(", ")}`,
        `Embedded bases: ${embedded.join(", ") || "none"}`,
      ].join("\n"),
    );
  },
});

export default command;
