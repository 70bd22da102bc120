/** Commands of lowrank in processes of their own: their memory and their failures stay theirs. */

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { RunInterrupted } from "../compare/result.ts";
import { LowrankError } from "../errors.ts";
import type { TrainEvent } from "../train/events.ts";
import { kebab } from "./flags.ts";

const MAIN = fileURLToPath(new URL("main.js", import.meta.url));

/** What a command prints with --json, a value a line. Throws LowrankError with its message when it fails. */
export async function* lowrankLines(
  command: readonly string[],
  flags: Readonly<Record<string, unknown>>,
): AsyncGenerator<Record<string, unknown>> {
  const args = [...command, ...flagArguments(flags), "--json"];
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ["ignore", "pipe", "ignore"] });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on("close", resolve);
    child.on("error", reject);
  });
  let message = "";
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      const value = JSON.parse(line) as Record<string, unknown>;
      const error = value["event"] === "error" ? value["message"] : value["error"];
      if (typeof error === "string") message = error;
      else yield value;
    }
    const code = await ended;
    if (code === 130) throw new RunInterrupted(`lowrank ${command.join(" ")} was interrupted.`);
    if (code !== 0) throw new LowrankError(message || `lowrank ${command.join(" ")} ended with ${code}.`);
  } finally {
    if (child.exitCode === null) child.kill("SIGTERM");
  }
}

/** A training's events. */
export async function* trainInChild(flags: Readonly<Record<string, unknown>>): AsyncGenerator<TrainEvent> {
  for await (const event of lowrankLines(["train"], flags)) yield event as unknown as TrainEvent;
}

/** The one result of a command. */
export async function resultOfChild(
  command: readonly string[],
  flags: Readonly<Record<string, unknown>>,
): Promise<Record<string, unknown>> {
  let result: Record<string, unknown> = {};
  for await (const value of lowrankLines(command, flags)) result = value;
  return result;
}

function flagArguments(flags: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(flags).flatMap(([name, value]) => {
    if (value === undefined || value === null) return [];
    if (typeof value === "boolean") return [`--${value ? "" : "no-"}${kebab(name)}`];
    if (Array.isArray(value) && name === "adapter") return value.map((each) => `--adapter=${each}`);
    const text = typeof value === "object" && !Array.isArray(value) ? JSON.stringify(value) : String(value);
    return [`--${kebab(name)}=${text}`];
  });
}
