/** Configuration files: YAML, of which JSON is a part. */

import { messageOf, UsageError } from "../errors.ts";
import { readTextFile } from "../files/text-file.ts";

export async function readConfigFile(path: string): Promise<Record<string, unknown>> {
  const { parse } = await import("yaml");
  const text = readTextFile(path);
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    throw new UsageError(`${path}: neither YAML nor JSON (${messageOf(error).split("\n")[0]}).`);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new UsageError(`${path}: needed names and values, like "batchSize: 4".`);
}
