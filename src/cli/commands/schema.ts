/** `lowrank schema` */

import { type Command, defineCommand } from "../command.ts";

const command: Command = defineCommand({
  summary: "Print the JSON Schema of a command's --config file",
  usage: "COMMAND",
  arguments: ["COMMAND…"],
  flags: {},
  notes: "The package holds the schema of train as dist/schemas/train.schema.json. Example: lowrank schema image train",
  run: async ({ arguments: words, output, commands }) => {
    const [{ UsageError }, { configSchema }, { suggestion }] = await Promise.all([
      import("../../errors.ts"),
      import("../schema.ts"),
      import("../flags.ts"),
    ]);
    const name = words.join(" ");
    const entry = commands.get(name);
    if (!entry) throw new UsageError(`${name} is no command.${suggestion(name, [...commands.keys()])}`);
    const schema = await configSchema(name, await entry.load());
    output.result(schema, () => JSON.stringify(schema, null, 2));
  },
});

export default command;
