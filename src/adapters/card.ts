/**
 * The README.md of an adapter on the hub: front matter that finds it below its base, and how it was made.
 * Source of the fields: huggingface.co/docs/hub/model-cards (library_name, base_model, tags).
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { isRecord, readJsonObject } from "../files/json-file.ts";
import { folderName } from "../files/snapshot-path.ts";
import { adapterInfo } from "./info.ts";

const PIPELINES: Readonly<Record<string, string>> = {
  "causal-lm": "text-generation",
  "masked-lm": "fill-mask",
  "sequence-classification": "text-classification",
  regression: "text-classification",
  "token-classification": "token-classification",
};

/** The card's text, from the adapter's own files. */
export function modelCard(folder: string, id: string): string {
  const { type, r, alpha, targetModules, parameters, baseModel } = adapterInfo(folder);
  const provenance = readIfThere(join(folder, "lowrank.json"));
  const training = readIfThere(join(folder, "training.json"));
  const options = isRecord(training["options"]) ? training["options"] : {};
  const base = isRecord(provenance["base"]) ? provenance["base"] : {};
  const onHub = baseModel !== null && /^[\w.-]+\/[\w.-]+$/.test(baseModel) && !existsSync(baseModel);
  const baseName = onHub || baseModel === null ? (baseModel ?? "unknown") : folderName(baseModel);
  const pipeline = PIPELINES[String(provenance["task"])];
  const tags = ["lowrank", type.toLowerCase(), ...(onHub ? [`base_model:adapter:${baseModel}`] : [])];
  const facts: readonly (readonly [string, unknown])[] = [
    ["Base", `${baseName}${base["commit"] ? ` at ${String(base["commit"]).slice(0, 12)}` : ""}`],
    ["Method", `${type}${r === null ? "" : `, r = ${r}, alpha = ${alpha}`}`],
    ["Target modules", Array.isArray(targetModules) ? targetModules.join(", ") : (targetModules ?? undefined)],
    ["Trained parameters", parameters],
    ["Rows", isRecord(provenance["data"]) ? provenance["data"]["rows"] : undefined],
    ["Steps", stepsOf(training)],
    ["Learning rate", options["lr"] ?? undefined],
    ["Batch", options["batchSize"] && `${Number(options["batchSize"]) * Number(options["gradAccum"] ?? 1)} rows`],
    ["Seed", options["seed"]],
    ["Held-out loss", heldOut(training)],
  ];
  return [
    "---",
    ...(onHub ? [`base_model: ${baseModel}`] : []),
    "library_name: peft",
    ...(pipeline ? [`pipeline_tag: ${pipeline}`] : []),
    "tags:",
    ...tags.map((tag) => `- ${tag}`),
    "---",
    "",
    `# ${id.slice(id.lastIndexOf("/") + 1)}`,
    "",
    "An adapter trained with lowrank, LoRA for TypeScript. It is a PEFT folder: PEFT, transformers and vLLM load it, too.",
    "",
    "```sh",
    `npx lowrank generate --model ${onHub ? baseModel : "BASE"} --adapter ${id} --prompt "…"`,
    "```",
    "",
    "| | |",
    "|---|---|",
    ...facts.flatMap(([name, value]) =>
      value === undefined || value === null ? [] : [`| ${name} | ${cell(value)} |`],
    ),
    "",
  ].join("\n");
}

function readIfThere(path: string): Readonly<Record<string, unknown>> {
  return existsSync(path) ? readJsonObject(path) : {};
}

function events(training: Readonly<Record<string, unknown>>, kind: string): Readonly<Record<string, unknown>>[] {
  const history = Array.isArray(training["history"]) ? (training["history"] as unknown[]) : [];
  return history.filter(isRecord).filter(({ event }) => event === kind);
}

function stepsOf(training: Readonly<Record<string, unknown>>): unknown {
  return events(training, "step").at(-1)?.["step"];
}

function heldOut(training: Readonly<Record<string, unknown>>): string | undefined {
  const losses = events(training, "eval").map(({ loss }) => Number(loss));
  return losses.length === 0 ? undefined : `${losses[0]!.toFixed(4)} before, ${Math.min(...losses).toFixed(4)} after`;
}

function cell(value: unknown): string {
  return String(value).replaceAll("|", "\\|").replaceAll("\n", " ");
}
