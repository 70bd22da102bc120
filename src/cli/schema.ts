/** The JSON Schema of a command's configuration file, made from its table of flags. */

import type { Command } from "./command.ts";
import type { Flag } from "./flags.ts";

type Schema = Readonly<Record<string, unknown>>;

/** JSON Schema (2020-12) of what `--config` takes for this command. */
export async function configSchema(name: string, command: Command): Promise<Schema> {
  const defaults = (await command.defaults?.()) ?? {};
  const properties = Object.fromEntries(
    Object.entries(command.flags).map(([key, flag]) => {
      const known = defaults[key];
      const withDefault = known === undefined || known === null || flag.required ? {} : { default: known };
      return [key, { description: flag.help, ...valueSchema(flag), ...withDefault }];
    }),
  );
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: `lowrank ${name}`,
    description: `${command.summary}. Flags of the command line win over this file.`,
    type: "object",
    additionalProperties: false,
    properties: { $schema: { type: "string" }, ...properties },
  };
}

function valueSchema({ type, choices }: Flag): Schema {
  switch (type) {
    case "integer":
    case "number":
    case "boolean":
      return { type };
    case "list":
    case "repeated":
      return { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }] };
    case "numbers":
      return { anyOf: [{ type: "string" }, { type: "array", items: { type: "number" } }] };
    case "json":
      return { type: "object" };
    case "optional":
      return { type: ["boolean", "string"] };
    default:
      return choices ? { enum: choices } : { type: "string" };
  }
}
