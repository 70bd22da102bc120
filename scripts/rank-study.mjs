/**
 * The LoRA paper's rank study (its section 7) on one's own model and data: LoRA at ranks 1, 2, 4, 8 and 64 on queries and values,
 * rank 64 with two seeds, and `lowrank study` over them. What stands already is not made again.
 *
 * usage: node scripts/rank-study.mjs MODEL DATA OUT        (after npm run build)
 */

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const [model, data, out] = process.argv.slice(2);
if (!out) throw new Error("usage: node scripts/rank-study.mjs MODEL DATA OUT");
const cli = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
const lowrank = (...args) => execFileSync(process.execPath, [cli, ...args], { stdio: "inherit" });

const RUNS = [
  [1, 0],
  [2, 0],
  [4, 0],
  [8, 0],
  [64, 0],
  [64, 1],
];

const folders = RUNS.map(([rank, seed]) => {
  const folder = join(out, `r${rank}-s${seed}`);
  const settings = { r: rank, alpha: rank, seed, "target-modules": "q_proj,v_proj", lr: 1e-3, scheduler: "linear" };
  const sizes = { "batch-size": 4, epochs: 1, "max-length": 256 };
  const flags = Object.entries({ ...settings, ...sizes }).map(([name, value]) => `--${name}=${value}`);
  if (!existsSync(join(folder, "adapter_model.safetensors"))) {
    lowrank("train", "--model", model, "--data", data, "--out", folder, ...flags);
  }
  return `r${rank}-s${seed}=${folder}`;
});
const adapters = folders.flatMap((each) => ["--adapter", each]);
lowrank("study", ...adapters, "--model", model, "--out", join(out, "study"), "--suggest");
