/** Runs the built command as users do, in a process of its own. */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openSafetensors, readTensors } from "../../src/files/safetensors.ts";
import { toFloat32 } from "../../src/tensor/convert.ts";

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const CASES = fileURLToPath(new URL("../goldens/cases", import.meta.url));

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout as JSON, a value a line. */
  readonly events: readonly Record<string, unknown>[];
}

/** Starts `lowrank` with these arguments. */
export function start(args: readonly string[]): {
  readonly process: ChildProcess;
  readonly finished: Promise<Finished>;
} {
  if (!existsSync(MAIN)) throw new Error("dist/cli/main.js is missing: run npm run build");
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const text = { stdout: "", stderr: "" };
  child.stdout.on("data", (data: Buffer) => {
    text.stdout += data.toString();
  });
  child.stderr.on("data", (data: Buffer) => {
    text.stderr += data.toString();
  });
  const finished = new Promise<Finished>((resolve) => {
    child.on("close", (code) => {
      const json = text.stdout.startsWith("{") ? text.stdout.trim().split("\n") : [];
      resolve({ code, ...text, events: json.flatMap((line) => parsed(line)) });
    });
  });
  return { process: child, finished };
}

export function lowrank(...args: readonly string[]): Promise<Finished> {
  return start(args).finished;
}

/** Resolves once stdout has shown `text`. */
export function shown({ process: child }: { readonly process: ChildProcess }, text: string): Promise<void> {
  return new Promise((resolve) => {
    let all = "";
    child.stdout!.on("data", (data: Buffer) => {
      all += data.toString();
      if (all.includes(text)) resolve();
    });
    child.on("close", () => resolve());
  });
}

/** A folder that is gone after `use`. */
export async function inScratch<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "lowrank-test-"));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The path of one of the project's own golden cases, or of a file in it. */
export function golden(name: string, ...path: readonly string[]): string {
  return join(CASES, name, ...path);
}

/** A file with these lines. */
export function lines(folder: string, name: string, rows: readonly unknown[]): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, name);
  writeFileSync(path, rows.map((row) => `${typeof row === "string" ? row : JSON.stringify(row)}\n`).join(""));
  return path;
}

/** Every tensor of a safetensors file as float32. */
export function tensorsOf(path: string): Map<string, Float32Array> {
  return new Map([...readTensors(openSafetensors(path))].map(([name, tensor]) => [name, toFloat32(tensor)]));
}

export function readJson(path: string): Record<string, unknown> {
  return JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
}

function parsed(line: string): Record<string, unknown>[] {
  try {
    return [JSON.parse(line) as Record<string, unknown>];
  } catch {
    return []; // cut off by a kill
  }
}
