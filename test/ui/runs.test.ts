import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runFolder } from "../../src/ui/runs.ts";
import { inFolder } from "../train/runs.ts";

const line = (value: object): string => `${JSON.stringify(value)}\n`;
const step = (n: number, loss: number | string = 1): object => ({
  ...{ event: "step", step: n, loss, gradNorm: 1, learningRate: 1, tokens: 1, targetTokens: 1, tokensPerSecond: 1 },
  ...{ seconds: 1, at: 10 + n },
});
const session = (pid: number): object => ({ event: "session", pid, model: "M", data: "D", at: 1 });

test("logs are read on as they grow; a line cut off by a kill is left out, text stays text", () =>
  inFolder(async (root) => {
    const out = join(root, "a", "b");
    mkdirSync(out, { recursive: true });
    const log = join(out, "events.jsonl");
    writeFileSync(log, `${line(session(process.pid)) + line(step(1))}{"event":"step","st`);
    const runs = runFolder(root);
    expect(runs.list()).toMatchObject([{ id: "a/b", state: "running", model: "M", started: 1, updated: 11 }]);
    expect(runs.list()[0]!.events).toHaveLength(1);
    // Resumed: the cut line is ended, and the run goes on.
    appendFileSync(
      log,
      `\n${line(step(2, "NaN"))}${line({ event: "sample", step: 2, prompt: "p", text: "NaN é", at: 20 })}`,
    );
    const [run] = runs.list();
    expect(run!.events).toHaveLength(3);
    expect(run!.events[1]).toMatchObject({ step: 2, loss: Number.NaN });
    expect(run!.events[2]).toMatchObject({ text: "NaN é" });
    writeFileSync(log, line(session(process.pid))); // begun anew
    expect(runs.list()[0]!.events).toHaveLength(0);
  }));

test("a run is done, interrupted, failed, or ended without a word", () =>
  inFolder(async (root) => {
    const write = (name: string, ...events: object[]): void => {
      mkdirSync(join(root, name));
      writeFileSync(join(root, name, "events.jsonl"), events.map(line).join(""));
    };
    const nobody = 2 ** 22 + 1; // above the largest number of a process
    write("done", session(nobody), { event: "done", at: 2 });
    write("interrupted", session(nobody), { event: "interrupted", at: 3 });
    write("failed", session(nobody), { event: "error", message: "why", at: 4 });
    write("killed", session(nobody), step(1));
    const states = Object.fromEntries(
      runFolder(root)
        .list()
        .map(({ id, state, error }) => [id, [state, error]]),
    );
    expect(states).toEqual({
      done: ["done", null],
      interrupted: ["interrupted", null],
      failed: ["failed", "why"],
      killed: ["ended", null],
    });
    expect(runFolder(root).find("../done")).toBeUndefined();
  }));
