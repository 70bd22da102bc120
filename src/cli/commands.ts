/** The table of commands. Each is loaded when it is called, so that help and small commands start at once. */

import type { Command, Commands } from "./command.ts";

const entry = (summary: string, load: () => Promise<{ readonly default: Command }>) => ({
  summary,
  load: async (): Promise<Command> => (await load()).default,
});

export const COMMANDS: Commands = new Map([
  [
    "quickstart",
    entry("Train, switch, blend and merge adapters on the embedded base", () => import("./commands/quickstart.ts")),
  ],
  ["train", entry("Fine-tune a model with an adapter, or fully", () => import("./commands/train.ts"))],
  ["ui", entry("Watch, compare and try runs in a browser", () => import("./commands/ui.ts"))],
  [
    "image train",
    entry("Train a LoRA for Stable Diffusion on a folder of images", () => import("./commands/image-train.ts")),
  ],
  [
    "image quickstart",
    entry(
      "Train two styles on the embedded image base, blend and show them",
      () => import("./commands/image-quickstart.ts"),
    ),
  ],
  ["data check", entry("Show what a data file holds for a model", () => import("./commands/data-check.ts"))],
  ["eval", entry("Measure loss and metrics on a file", () => import("./commands/eval.ts"))],
  ["score", entry("Score generated texts against references", () => import("./commands/score.ts"))],
  ["generate", entry("Generate text with a model and its adapters", () => import("./commands/generate.ts"))],
  ["embed", entry("Turn texts into vectors", () => import("./commands/embed.ts"))],
  ["serve", entry("Serve a model and its adapters over HTTP, as OpenAI's API", () => import("./commands/serve.ts"))],
  ["image generate", entry("Generate images with Stable Diffusion", () => import("./commands/image-generate.ts"))],
  ["merge", entry("Write a model with adapters merged into it", () => import("./commands/merge.ts"))],
  ["adapter info", entry("Show what an adapter holds", () => import("./commands/adapter-info.ts"))],
  ["adapter push", entry("Upload an adapter to the hub", () => import("./commands/adapter-push.ts"))],
  [
    "adapter convert",
    entry("Convert an adapter from or to another tool's files", () => import("./commands/adapter-convert.ts")),
  ],
  ["adapter combine", entry("Combine adapters of one base into one", () => import("./commands/adapter-combine.ts"))],
  ["adapter resize", entry("Bring an adapter to another rank", () => import("./commands/adapter-resize.ts"))],
  [
    "adapter extract",
    entry("Make an adapter of what full fine-tuning changed", () => import("./commands/adapter-extract.ts")),
  ],
  ["compare", entry("Compare methods on tasks over seeds, from one file", () => import("./commands/compare.ts"))],
  ["study", entry("Study the rank of adapters", () => import("./commands/study.ts"))],
  [
    "bench train",
    entry("Time training steps, whole or by kinds of operators", () => import("./commands/bench-train.ts")),
  ],
  ["bench generate", entry("Time generation", () => import("./commands/bench-generate.ts"))],
  ["bench switch", entry("Time changing the adapter between requests", () => import("./commands/bench-switch.ts"))],
  [
    "bench inference",
    entry("Time a pass of base, base + adapter and merged model", () => import("./commands/bench-inference.ts")),
  ],
  ["bench merge", entry("Time merging", () => import("./commands/bench-merge.ts"))],
  ["estimate", entry("Plan a training: parameters, files and memory", () => import("./commands/estimate.ts"))],
  ["verify", entry("Compute every tensor of a reference case", () => import("./commands/verify.ts"))],
  ["init", entry("Write a configuration file for train", () => import("./commands/init.ts"))],
  ["schema", entry("Print the JSON Schema of a --config file", () => import("./commands/schema.ts"))],
  ["completion", entry("Print a shell's completion script", () => import("./commands/completion.ts"))],
  ["models", entry("List architectures, tasks and methods", () => import("./commands/models.ts"))],
  ["doctor", entry("Check this machine and this installation", () => import("./commands/doctor.ts"))],
]);
