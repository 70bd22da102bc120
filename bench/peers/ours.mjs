/** `lowrank train` with the settings of peft_train.py, as a user starts it. */

import { fileURLToPath } from "node:url";

export const LOWRANK = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

/** Arguments of a run over rows in the file's order. */
export function trainArguments({ model, data, targets, batch, steps, threads, out }) {
  const given = [
    "--model",
    model,
    "--data",
    data,
    "--target-modules",
    targets,
    "--batch-size",
    batch,
    "--max-steps",
    steps,
  ];
  const settings = ["--r", "8", "--alpha", "16", "--lr", "1e-3", "--weight-decay", "0.01", "--scheduler", "constant"];
  return ["train", ...given, ...settings, "--no-shuffle", "--threads", threads, "--out", out, "--json"];
}
