/** `lowrank adapter info` */

import { type Command, defineCommand } from "../command.ts";
import { table } from "../output.ts";

const command: Command = defineCommand({
  summary: "Show what an adapter holds",
  usage: "PATH [options]",
  arguments: ["PATH"],
  flags: {},
  run: async ({ arguments: [path], output }) => {
    const [{ adapterInfo }, { imageLoraInfo }, { isImageLora }] = await Promise.all([
      import("../../adapters/info.ts"),
      import("../../diffusion/lora-info.ts"),
      import("../../diffusion/read-lora.ts"),
    ]);
    const info = isImageLora(path!) ? imageLoraInfo(path!) : adapterInfo(path!);
    output.result(info, () =>
      table(
        Object.entries(info).map(([name, value]) => [
          name,
          Array.isArray(value)
            ? value.join(", ")
            : typeof value === "object" && value !== null
              ? Object.entries(value)
                  .map((each) => each.join(": "))
                  .join("\n")
              : String(value ?? "-"),
        ]),
      ),
    );
  },
});

export default command;
