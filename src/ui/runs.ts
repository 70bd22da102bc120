/** The runs under a folder, from the event logs that training writes. */

import { closeSync, existsSync, fstatSync, openSync, readdirSync, readSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { EVENTS_FILE } from "../train/event-log.ts";
import type { TrainEvent } from "../train/events.ts";

export type RunState = "running" | "done" | "interrupted" | "failed" | "ended";

export interface LoggedRun {
  /** Path below the folder of runs, with forward slashes; "." is that folder itself. */
  readonly id: string;
  readonly folder: string;
  readonly events: readonly TrainEvent[];
  readonly state: RunState;
  /** Why it failed. */
  readonly error: string | null;
  /** Base of the last session. */
  readonly model: string | null;
  readonly started: number;
  /** Time of the last event, in milliseconds. */
  readonly updated: number;
}

/** Folders below the one given that are looked through. */
const DEPTH = 4;
/** Bytes of a log that are read: a run of a million steps. */
const MOST_BYTES = 2 ** 28;

export interface RunFolder {
  /** Newest first. Logs are read on from where they were left. */
  list(): LoggedRun[];
  /** The run of this id among those of the folder; undefined for any other text. */
  find(id: string): LoggedRun | undefined;
}

interface Session {
  readonly event: "session";
  readonly pid: number;
  readonly model: string;
}
type Logged = (TrainEvent | Session | { readonly event: "error"; readonly message: string }) & { readonly at: number };

interface Log {
  size: number;
  rest: string;
  readonly lines: Logged[];
}

export function runFolder(root: string): RunFolder {
  const logs = new Map<string, Log>();
  const list = (): LoggedRun[] =>
    foldersOf(root, DEPTH)
      .map((folder) => {
        const log = logs.get(folder) ?? { size: 0, rest: "", lines: [] };
        logs.set(folder, log);
        readOn(join(folder, EVENTS_FILE), log);
        return runOf(relative(root, folder).split(sep).join("/") || ".", folder, log.lines);
      })
      .toSorted((a, b) => b.started - a.started || (a.id < b.id ? -1 : 1));
  return { list, find: (id) => list().find((run) => run.id === id) };
}

function foldersOf(folder: string, depth: number): string[] {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { withFileTypes: true });
  const own = entries.some((entry) => entry.isFile() && entry.name === EVENTS_FILE) ? [folder] : [];
  if (depth === 0) return own;
  const inner = entries.filter((entry) => entry.isDirectory() && !/^(\.|checkpoint-|node_modules$)/.test(entry.name));
  return [...own, ...inner.flatMap(({ name }) => foldersOf(join(folder, name), depth - 1))];
}

/** Takes in what a log has gained; all of it anew when it is shorter than before. */
function readOn(path: string, log: Log): void {
  const file = openSync(path, "r");
  try {
    const size = Math.min(fstatSync(file).size, MOST_BYTES);
    if (size < log.size) Object.assign(log, { size: 0, rest: "" }) && log.lines.splice(0);
    const fresh = Buffer.alloc(size - log.size);
    const count = readSync(file, fresh, 0, fresh.length, log.size);
    const lines = (log.rest + fresh.toString("latin1", 0, count)).split("\n");
    log.size += count;
    log.rest = lines.pop() ?? "";
    for (const line of lines) log.lines.push(...parsed(Buffer.from(line, "latin1").toString()));
  } finally {
    closeSync(file);
  }
}

/** Fields that hold text whatever it says. */
const TEXTS = new Set(["event", "prompt", "text", "message", "path", "out", "model", "data"]);

/** A line of the log; none for one that a kill has cut off. */
function parsed(line: string): Logged[] {
  try {
    const value: unknown = JSON.parse(line, (key, item: unknown) =>
      typeof item === "string" && !TEXTS.has(key) && /^(NaN|-?Infinity)$/.test(item) ? Number(item) : item,
    );
    const { event, at } = (value ?? {}) as { event?: unknown; at?: unknown };
    return typeof event === "string" && typeof at === "number" ? [value as Logged] : [];
  } catch {
    return [];
  }
}

function runOf(id: string, folder: string, lines: readonly Logged[]): LoggedRun {
  const session = lines.findLast((line): line is Session & { at: number } => line.event === "session");
  const last = lines.at(-1);
  const error = last?.event === "error" ? last.message : null;
  return {
    id,
    folder,
    events: lines.filter(
      (line): line is TrainEvent & { at: number } => line.event !== "session" && line.event !== "error",
    ),
    state: stateOf(last, session?.pid),
    error,
    model: session?.model ?? null,
    started: lines[0]?.at ?? 0,
    updated: last?.at ?? 0,
  };
}

function stateOf(last: Logged | undefined, pid: number | undefined): RunState {
  if (last?.event === "done") return "done";
  if (last?.event === "interrupted") return "interrupted";
  if (last?.event === "error") return "failed";
  return pid !== undefined && isAlive(pid) ? "running" : "ended";
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: string }).code === "EPERM";
  }
}
