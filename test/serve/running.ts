/** A server in a process of its own, as users start it. */

import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

export interface Running {
  readonly url: string;
  readonly process: ChildProcess;
  /** Sends SIGTERM and gives the exit code. */
  stop(): Promise<number | null>;
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
}

export async function serving(args: readonly string[], environment: Record<string, string> = {}): Promise<Running> {
  const child = spawn(process.execPath, [MAIN, "serve", "--port", "0", "--json", "--threads", "1", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...environment },
  });
  const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
  let errors = "";
  child.stderr.on("data", (data: Buffer) => {
    errors += data;
  });
  const url = await new Promise<string>((resolve, reject) => {
    let text = "";
    child.stdout.on("data", (data: Buffer) => {
      text += data;
      const line = text.split("\n").find((each) => each.includes('"listening"'));
      if (line) resolve((JSON.parse(line) as { url: string }).url);
    });
    void exited.then((code) => reject(new Error(`the server ended with ${code}: ${errors}`)));
  });
  return {
    url,
    process: child,
    stop: () => {
      child.kill("SIGTERM");
      return exited;
    },
    post: (path, body, headers = {}) =>
      fetch(url + path, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
  };
}
