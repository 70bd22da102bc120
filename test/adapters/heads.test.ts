/** Heads and what lies before them: all-linear and modules_to_save as PEFT has them, and heads that a checkpoint lacks. */

import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createAdapter, loadAdapter } from "../../src/adapters/adapter.ts";
import { parseAdapterConfig } from "../../src/adapters/bind.ts";
import { savedModules } from "../../src/adapters/modules-to-save.ts";
import { openPeftFolder } from "../../src/adapters/peft-folder.ts";
import { openSafetensors, readTensors, writeSafetensors } from "../../src/files/safetensors.ts";
import { openModel, traceChecked } from "../../src/models/open.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { trainOptions } from "../../src/train/options.ts";
import { prepare } from "../../src/train/prepare.ts";
import { caseFolder, computeGradients, firstBatch, openCase } from "../goldens/harness.ts";

const peft = JSON.parse(readFileSync(new URL("all-linear.json", import.meta.url), "utf8")) as Record<
  string,
  { readonly task: string | null; readonly targets: readonly string[] }
>;

test.each(Object.keys(peft))("%s: all-linear targets the layers that PEFT targets", (name) => {
  const { model, trace } = openCase(name);
  const config = parseAdapterConfig({ target_modules: "all-linear", task_type: peft[name]!.task }, "here");
  expect(createAdapter(config, model, trace, 0).method.targets.toSorted()).toEqual(peft[name]!.targets);
});

test("modules_to_save matches ends of names, as PEFT does: classifier takes in pre_classifier", () => {
  const { trace } = openCase("distilbert-seqcls");
  const saved = savedModules(trace, { modules_to_save: ["classifier"], task_type: "SEQ_CLS" }, { strict: true });
  expect([...saved.parameters.keys()]).toEqual([
    "base_model.model.pre_classifier.weight",
    "base_model.model.pre_classifier.bias",
    "base_model.model.classifier.weight",
    "base_model.model.classifier.bias",
  ]);
});

test("dropout: a module that is called with other numbers of rows draws a mask for each", async () => {
  const golden = openCase("deberta-v3-style");
  const config = parseAdapterConfig({ target_modules: ["query_proj", "key_proj"], lora_dropout: 0.5 }, "here");
  const adapter = createAdapter(config, golden.model, golden.trace, 0);
  const { loss } = await computeGradients(golden, firstBatch(golden), adapter);
  expect(loss).toBeGreaterThan(0);
});

test("a pooler that the checkpoint lacks is made new, told of, and saved with the adapter", async () => {
  const work = mkdtempSync(join(tmpdir(), "lowrank-heads-"));
  try {
    const model = join(work, "model");
    cpSync(join(caseFolder("bert-seqcls"), "model"), model, { recursive: true });
    const file = join(model, "model.safetensors");
    const tensors = readTensors(openSafetensors(file));
    const kept = [...tensors].filter(([name]) => !name.includes("pooler") && !name.startsWith("classifier"));
    writeSafetensors(
      file,
      kept.map(([name, { shape, data }]) => [
        name,
        { dtype: "f32", shape, data: Float32Array.from(data as Float32Array) },
      ]),
    );
    const options = { model, data: join(caseFolder("bert-seqcls"), "data.jsonl"), out: join(work, "out") };
    const run = await prepare(trainOptions({ ...options, task: "sequence-classification" }), nodeRuntime);
    expect(run.warnings).toEqual([expect.stringContaining("lacks bert.pooler.dense")]);
    expect(run.parameters.get("base_model.model.bert.pooler.dense.weight")!.data.some((value) => value !== 0)).toBe(
      true,
    );
    run.save(options.out, run.parameters);
    const opened = openModel(model);
    const folder = openPeftFolder(options.out);
    expect(folder.config.modules_to_save).toEqual(["bert.pooler.dense", "classifier", "score"]);
    const trace = traceChecked(opened, "sequence-classification", () => true);
    expect(loadAdapter(folder, opened, trace).tensors).toEqual(run.parameters);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
});
