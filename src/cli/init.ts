/** Questions for a training's configuration file, and the file. */

import { existsSync } from "node:fs";

export interface Answers {
  readonly model?: string;
  readonly data?: string;
  readonly out?: string;
  readonly method?: string;
  readonly r?: number;
  readonly epochs?: number;
}

/** Asks for what `given` lacks; null when the user leaves. */
export async function askFor(given: Answers): Promise<Answers | null> {
  const { cancel, group, intro, select, text } = await import("@clack/prompts");
  intro("A training's configuration");
  const needed = (value: string | undefined): string | undefined => (value?.trim() ? undefined : "Needed.");
  const whole = (value: string | undefined): string | undefined =>
    /^[1-9]\d*$/.test(value ?? "") ? undefined : "A whole number from 1.";
  let left = false;
  const asked = await group(
    {
      model: () =>
        given.model ??
        text({
          message: "Base model: a folder, a hub id, or embedded:gpt2-tiny",
          initialValue: "embedded:gpt2-tiny",
          validate: needed,
        }),
      data: () =>
        given.data ??
        text({
          message: "Training rows: JSONL, JSON, CSV, Parquet, or a folder with train and valid",
          placeholder: "train.jsonl",
          validate: (value) =>
            needed(value) ?? (existsSync(value!) || /^[\w-]+\/[\w.-]+$/.test(value!) ? undefined : "No such file."),
        }),
      method: () =>
        given.method ??
        select({
          message: "Method",
          initialValue: "lora",
          options: [
            { value: "lora", label: "LoRA", hint: "small matrices beside the frozen weights" },
            { value: "ia3", label: "IA3", hint: "fewer parameters still" },
            { value: "prompt-tuning", label: "prompt tuning" },
            { value: "full", label: "full fine-tuning", hint: "every weight; much memory" },
          ],
        }),
      r: ({ results }: { readonly results: { readonly method?: unknown } }) =>
        given.r ??
        (results.method === "lora" ? text({ message: "Rank", initialValue: "8", validate: whole }) : undefined),
      epochs: () => given.epochs ?? text({ message: "Epochs", initialValue: "3", validate: whole }),
      out: () => given.out ?? text({ message: "Folder for the result", initialValue: "runs/mine", validate: needed }),
    } as never,
    {
      onCancel: () => {
        left = true;
      },
    },
  );
  if (left) {
    cancel("Nothing is written.");
    return null;
  }
  const { r, epochs, ...texts } = asked as Record<string, string | number | undefined>;
  return {
    ...texts,
    ...(r === undefined ? {} : { r: Number(r) }),
    ...(epochs === undefined ? {} : { epochs: Number(epochs) }),
  } as Answers;
}

/** The file, with a word on each line. */
export function configText({ model, data, out = "runs/mine", method = "lora", r = 8, epochs = 3 }: Answers): string {
  const lines: readonly (readonly [string, unknown, string])[] = [
    ["model", model, "a Hugging Face folder, a hub id, or embedded:NAME"],
    ["data", data, "training rows; evalData: held-out ones"],
    ["out", out, "a PEFT folder, with checkpoints and report.html"],
    ["method", method, "lora, ia3, prompt-tuning, prefix-tuning, full, …"],
    ...(method === "lora" ? [["r", r, "rank; alpha: its scale (8)"] as const] : []),
    ["epochs", epochs, "or maxSteps"],
    ["batchSize", 8, "rows of one pass; gradAccum: passes of one step"],
    ["lr", method === "full" ? 5e-5 : 2e-4, "learning rate"],
    ["scheduler", "linear", "constant, linear, cosine; warmupRatio: 0.03"],
    ["evalSplit", 0.05, "held out of the rows when there is no evalData"],
    ["seed", 0, "the same seed gives the same bytes"],
  ];
  const texts = lines.map(([name, value]) => `${name}: ${yamlValue(value)}`);
  const width = Math.max(...texts.map(({ length }) => length));
  return [
    "# yaml-language-server: $schema=node_modules/lowrank/dist/schemas/train.schema.json",
    "# lowrank train --config this-file; flags win. lowrank train --help lists every option.",
    ...lines.map(([, , help], i) => `${texts[i]!.padEnd(width)}  # ${help}`),
    "",
  ].join("\n");
}

/** Text in quotes unless YAML reads it as itself. */
function yamlValue(value: unknown): string {
  if (typeof value !== "string") return String(value);
  return /^[\w./-]+$/.test(value) && !/^[\d.-]/.test(value) && !/^(true|false|null|yes|no|on|off)$/i.test(value)
    ? value
    : JSON.stringify(value);
}
