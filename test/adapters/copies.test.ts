import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadAdapter } from "../../src/adapters/adapter.ts";
import { openPeftFolder, savePeftFolder } from "../../src/adapters/peft-folder.ts";
import { readTensors } from "../../src/files/safetensors.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";
import { caseFolder, openCase } from "../goldens/harness.ts";

test("copies of the base that PEFT puts into a file are written again as they were", () => {
  const { model, trace } = openCase("llama-embedding-lora");
  const folder = openPeftFolder(join(caseFolder("llama-embedding-lora"), "adapter"));
  const out = mkdtempSync(join(tmpdir(), "lowrank-copies-"));
  savePeftFolder(out, loadAdapter(folder, model, trace));
  const [theirs, ours] = [readTensors(folder), readTensors(openPeftFolder(out))];
  expect(new Set(ours.keys())).toEqual(new Set(theirs.keys()));
  for (const [key, { data }] of theirs) expect(ours.get(key)!.data, key).toEqual(data);
});

test("a trained bias that stands in PEFT's file twice is written with its new values both times", () => {
  const { model, trace } = openCase("bert-bias-all");
  const opened = loadAdapter(openPeftFolder(join(caseFolder("bert-bias-all"), "adapter")), model, trace);
  const bias = floatTensor([3], Float32Array.of(1, 2, 3));
  const out = mkdtempSync(join(tmpdir(), "lowrank-copies-"));
  savePeftFolder(out, { ...opened, tensors: new Map([...opened.tensors, ["base_model.model.classifier.bias", bias]]) });
  const written = readTensors(openPeftFolder(out));
  expect(written.get("base_model.model.classifier.modules_to_save.bias")!.data).toEqual(bias.data);
  expect(written.get("base_model.model.classifier.original_module.bias")!.data).not.toEqual(bias.data);
});
