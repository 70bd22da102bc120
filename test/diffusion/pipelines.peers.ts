/**
 * diffusers draws with what this package writes: merged folders, folders made of single files, and LoRA files give the
 * images that diffusers made of its own. LOWRANK_PYTHON names a Python with torch, transformers, diffusers and PEFT.
 */

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, expect, test, vi } from "vitest";
import { convertImageLora } from "../../src/convert/image-lora.ts";
import { openPipeline } from "../../src/diffusion/pipeline.ts";
import { writePipeline } from "../../src/diffusion/write-pipeline.ts";
import { mergePipelineHere } from "../../src/merge/merge-pipeline.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { singleFile } from "./single-files.ts";

vi.setConfig({ testTimeout: 400_000 }); // the libraries alone take a minute to load on a busy machine
const python = process.env["LOWRANK_PYTHON"] ?? "python3";
const scratch = mkdtempSync(join(tmpdir(), "lowrank-pipelines-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const at = (name: string): string => join(import.meta.dirname, name);

async function pixelDifference(...given: string[]): Promise<number> {
  const { stdout } = await promisify(execFile)(python, [at("draw_pipelines.py"), ...given]);
  return (JSON.parse(stdout.trim().split("\n").at(-1)!) as { maxPixelDifference: number }).maxPixelDifference;
}

test.each([
  ["sd1", "lora", 0.7],
  ["xl", "negative", 0.5],
] as const)("%s: a merged folder", async (name, id, weight) => {
  const out = join(scratch, `${name}-merged`);
  const model = at(`pipelines/${name}`);
  const adapters = [{ name: "a", path: join(model, "lora.safetensors"), weight }];
  const result = await mergePipelineHere({ model, adapters, out, dtype: "f32", threads: 1 }, nodeRuntime);
  expect(result.maxAbsDiff).toBeLessThan(1e-5);
  expect(await pixelDifference(name, id, out)).toBeLessThanOrEqual(2);
});

test("sd1: a LoRA file as it is converted for diffusers", async () => {
  const [model, out] = [at("pipelines/sd1"), join(scratch, "lora")];
  convertImageLora({ adapter: join(model, "lora.safetensors"), to: "diffusers", out, model });
  expect(await pixelDifference("sd1", "lora", model, out)).toBeLessThanOrEqual(2);
});

test.each(["sd1", "xl"] as const)("%s: a folder made of a single file", async (name) => {
  const pipeline = openPipeline(singleFile(name, scratch), { modelConfig: at(`pipelines/${name}`) });
  const out = join(scratch, `${name}-folder`);
  writePipeline(pipeline, out, new Map());
  expect(await pixelDifference(name, "base", out)).toBeLessThanOrEqual(2);
});
