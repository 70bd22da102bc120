/** `lowrank adapter info` */

import { type Command, defineCommand } from "../command.ts";
import { table } from "../output.ts";

const command: Command = defineCommand({
  summary: "Show what an adapter holds",
  usage: "PATH [options]",
  arguments: ["PATH"],
  flags: {},
  run: async ({ arguments: [path], output }) => {
    const { adapterInfo } = await import("../../adapters/info.ts");
    const info = adapterInfo(path!);
    output.result(info, () =>
      table(
        Object.entries(info).map(([name, value]) => [
          name,
          Array.isArray(value) ? value.join(", ") : String(value ?? "-"),
        ]),
      ),
    );
  },
});

export default command;
