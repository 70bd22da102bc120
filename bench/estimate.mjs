/**
 * How near `lowrank estimate` comes to the memory that training takes: real runs of a few steps, at several lengths.
 *   node bench/estimate.mjs MODEL[:TASK] … [--lengths 64,128,256] [--batch 4] [--precision fp32]
 */

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const main = new URL("../dist/cli/main.js", import.meta.url).pathname;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    lengths: { type: "string", default: "64,128,256" },
    batch: { type: "string", default: "4" },
    precision: { type: "string", default: "fp32" },
  },
});
const lowrank = (...args) =>
  execFileSync(process.execPath, [main, ...args, "--json"], {
    encoding: "utf8",
    maxBuffer: 1e9,
    stdio: ["ignore", "pipe", "ignore"],
  });

console.log("| model | tokens | estimate | measured | estimate / measured |\n|---|---|---|---|---|");
const folder = mkdtempSync(join(tmpdir(), "lowrank-estimate-"));
try {
  for (const named of positionals) {
    const [model, task] = named.startsWith("embedded:") ? [named] : named.split(":");
    for (const length of values.lengths.split(",").map(Number)) {
      const data = join(folder, "rows.jsonl");
      const row = () => {
        const input_ids = Array.from({ length }, (_, i) => 5 + ((i * 7919 + Math.floor(Math.random() * 900)) % 900));
        return JSON.stringify(
          task ? { input_ids, label: Math.floor(Math.random() * 2) } : { input_ids, labels: input_ids },
        );
      };
      const batch = Number(values.batch);
      writeFileSync(data, Array.from({ length: 4 * batch }, row).join("\n"));
      const common = ["--batch-size", values.batch, "--precision", values.precision, ...(task ? ["--task", task] : [])];
      const estimate = JSON.parse(lowrank("estimate", model, ...common, "--length", String(length)));
      const events = lowrank(
        "train",
        "--model",
        model,
        "--data",
        data,
        "--out",
        join(folder, "out"),
        "--max-steps",
        "3",
        "--recompute",
        "none",
        ...common,
      );
      const { peakMemoryBytes } = JSON.parse(events.trim().split("\n").at(-1));
      rmSync(join(folder, "out"), { recursive: true });
      const mega = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
      const ratio = (estimate.memory.total / peakMemoryBytes).toFixed(2);
      console.log(
        `| ${estimate.model} | ${batch} x ${length} | ${mega(estimate.memory.total)} | ${mega(peakMemoryBytes)} | ${ratio} |`,
      );
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
