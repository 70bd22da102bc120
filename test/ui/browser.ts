/** What the tests of the pages share: the server as users start it, requests by hand, a browser where there is one. */

import { existsSync } from "node:fs";
import { request } from "node:http";
import type { Page } from "playwright-core";
import { start } from "../cli/lowrank.ts";

/** Where a browser is looked for: the one named, or Debian's. */
export const CHROMIUM: string | undefined = [process.env["CHROMIUM"], "/usr/bin/chromium"].find(
  (path) => path !== undefined && existsSync(path),
);

export interface StartedUi {
  readonly url: string;
  /** Ends it as Ctrl-C does; the exit code. */
  stop(): Promise<number | null>;
}

export async function startPages(...args: readonly string[]): Promise<StartedUi> {
  const ui = start(["ui", ...args, "--port", "0", "--threads", "1", "--json"]);
  const url = await new Promise<string>((resolve, reject) => {
    ui.process.stdout!.on("data", (text: Buffer) => resolve((JSON.parse(text.toString()) as { url: string }).url));
    void ui.finished.then(({ stderr }) => reject(new Error(stderr)));
  });
  return {
    url,
    stop: async () => {
      ui.process.kill("SIGTERM");
      return (await ui.finished).code;
    },
  };
}

export function status(
  url: string,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<{ code: number; text: string }> {
  return new Promise((resolve, reject) => {
    const { method = "GET", headers = {}, body } = options;
    const call = request(new URL(path, url), { method, headers }, (response) => {
      let text = "";
      response.on("data", (data: Buffer) => {
        text += data.toString();
      });
      response.on("end", () => resolve({ code: response.statusCode!, text }));
    });
    call.on("error", reject);
    call.end(body);
  });
}

/** The token that a page holds. */
export async function tokenOf(url: string): Promise<string> {
  return /data-token="([^"]+)"/.exec((await status(url, "/")).text)![1]!;
}

/** What goes wrong in a page, as it happens. */
export function errorsOf(page: Page): string[] {
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  return errors;
}
