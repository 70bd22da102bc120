/** Merged pipelines: what is written, and that it computes what base and adapters compute together. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { openPipeline } from "../../src/diffusion/pipeline.ts";
import { type MergePipelineInput, mergePipelineHere } from "../../src/merge/merge-pipeline.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { singleFile } from "./single-files.ts";

const scratch = mkdtempSync(join(tmpdir(), "lowrank-merged-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const at = (name: string): string => join(import.meta.dirname, "pipelines", name);

const merge = (name: string, more: Partial<MergePipelineInput> = {}): ReturnType<typeof mergePipelineHere> => {
  const lora = join(at(name), "lora.safetensors");
  const adapters = [
    { name: "a", path: lora, weight: 0.7 },
    { name: "b", path: lora, weight: -0.2 },
  ];
  const out = join(scratch, `${name}-${Object.keys(more).join("-")}`);
  return mergePipelineHere({ model: at(name), adapters, out, dtype: "f32", threads: 1, ...more }, nodeRuntime);
};

test.each(["sd1", "xl"])("%s: several files with weights, in every component that they change", async (name) => {
  const { components, out } = await merge(name);
  expect(new Set(Object.keys(components))).toEqual(
    new Set(["unet", "text_encoder", ...(name === "xl" ? ["text_encoder_2"] : [])]),
  );
  for (const difference of Object.values(components)) expect(difference).toBeLessThan(1e-5);
  expect(openPipeline(out).textEncoders[0]!.tokenizer).toBe(join(out, "tokenizer"));
  await expect(merge(name)).rejects.toThrow(/holds a pipeline already/);
});

test("into a single-file checkpoint; in the checkpoint's own type the difference is its rounding", async () => {
  const single = { model: singleFile("xl", scratch), modelConfig: at("xl") };
  expect((await merge("xl", single)).maxAbsDiff).toBeLessThan(1e-5);
  const own = await merge("sd1", { dtype: null });
  expect(own.maxAbsDiff).toBeGreaterThan(1e-5);
  expect(own.maxAbsDiff).toBeLessThan(1e-2);
});

test("a LoRA of another base and a single file without a tokenizer are refused, and nothing is written", async () => {
  const foreign = [{ name: "a", path: join(at("xl"), "lora.safetensors"), weight: 1 }];
  await expect(merge("sd1", { adapters: foreign })).rejects.toThrow(/does not fit|match a layer/);
});
