/** LoRA of diffusion pipelines: between kohya's, diffusers' and PEFT's files, several as one, and smaller ones. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { ImageAdapter, ImageBranch } from "../diffusion/adapter.ts";
import { openPipeline, type Pipeline } from "../diffusion/pipeline.ts";
import { type ReadLora, readImageLora, unmatchedText } from "../diffusion/read-lora.ts";
import { writeDiffusersLora, writeKohyaLora } from "../diffusion/write-lora.ts";
import { UsageError } from "../errors.ts";
import { sizeOf } from "../tensor/shape.ts";
import { floatTensor } from "../tensor/tensor.ts";
import { type LowRank, plainConfig, writeLora } from "./lora-file.ts";
import { truncateProduct } from "./truncation.ts";

export const IMAGE_TARGETS = ["kohya", "diffusers", "peft"] as const;
export type ImageTarget = (typeof IMAGE_TARGETS)[number];

export interface ImageLoraResult {
  readonly out: string;
  readonly modules: number;
  /** The largest. */
  readonly r: number;
  /** Tensors of the inputs that a layer was found for, of all. */
  readonly matched: number;
  readonly tensors: number;
  /** What was left out, and why. */
  readonly warnings: readonly string[];
}

export interface WeightedFile {
  readonly path: string;
  readonly weight: number;
}

/** The layers' names are the same whatever the model predicts, which single files need not say here. */
function pipelineOf(model: string): Pipeline {
  return openPipeline(model, { prediction: "epsilon" });
}

/** One file in another spelling; its values stay as they are. */
export function convertImageLora(input: {
  readonly adapter: string;
  readonly to: ImageTarget;
  readonly out: string;
  readonly model: string;
}): ImageLoraResult {
  const pipeline = pipelineOf(input.model);
  const read = readImageLora(input.adapter, pipeline);
  write(input.out, input.to, input.model, read.adapter, kept(read));
  return resultOf(input.out, read.adapter, [[input.adapter, read]]);
}

/**
 * Σ weight · ΔW of several files as one, exactly: A's under each other, B's beside each other with weight and α / r in
 * them. Ranks add up.
 */
export function combineImageLora(input: {
  readonly adapters: readonly WeightedFile[];
  readonly out: string;
  readonly model: string;
}): ImageLoraResult {
  const pipeline = pipelineOf(input.model);
  const reads = input.adapters.map(({ path }): [string, ReadLora] => [path, readImageLora(path, pipeline)]);
  const sum = concatenated(reads.map(([, { adapter }], i) => [adapter, input.adapters[i]!.weight]));
  write(input.out, targetOf(input.out), input.model, sum, {});
  return resultOf(input.out, sum, reads);
}

/** Each layer's update at rank `rank`, the nearest there is. */
export function resizeImageLora(input: {
  readonly adapter: string;
  readonly rank: number;
  readonly out: string;
  readonly model: string;
}): ImageLoraResult & { readonly energy: number } {
  const pipeline = pipelineOf(input.model);
  const read = readImageLora(input.adapter, pipeline);
  let [kept, total] = [0, 0];
  const adapter = mapBranches(read.adapter, (branch) => {
    const { A, B, scale } = branch;
    const r = A.shape[0]!;
    const [width, out] = [sizeOf(A.shape) / r, B.shape[0]!];
    const scaled = Float64Array.from(B.data, (value) => value * scale);
    const cut = truncateProduct(scaled, A.data, r, { in: width, out, embedding: false }, (s) =>
      Math.min(input.rank, s.length),
    );
    kept += cut.kept;
    total += cut.total;
    const rank = cut.factors.rank;
    return {
      A: floatTensor([rank, ...A.shape.slice(1)], Float32Array.from(cut.factors.A)),
      B: floatTensor([out, rank, ...B.shape.slice(2)], Float32Array.from(cut.factors.B)),
      scale: 1,
    };
  });
  write(input.out, targetOf(input.out), input.model, adapter, {});
  return { ...resultOf(input.out, adapter, [[input.adapter, read]]), energy: total === 0 ? 1 : kept / total };
}

/** Adapters with weights as one adapter. */
export function concatenated(parts: readonly (readonly [ImageAdapter, number])[]): ImageAdapter {
  const lists = new Map<string, Map<string, ImageBranch[]>>();
  for (const [adapter, weight] of parts) {
    for (const [component, branches] of adapter) {
      const own = lists.get(component) ?? new Map<string, ImageBranch[]>();
      for (const [module, { A, B, scale }] of branches) {
        const branch = { A, B: { ...B, data: B.data.map((value) => value * scale * weight) }, scale: 1 };
        own.set(module, [...(own.get(module) ?? []), branch]);
      }
      lists.set(component, own);
    }
  }
  return new Map(
    [...lists].map(([component, modules]) => [
      component,
      new Map([...modules].map(([module, list]) => [module, stacked(list)])),
    ]),
  );
}

function stacked(branches: readonly ImageBranch[]): ImageBranch {
  const [first] = branches as [ImageBranch];
  const ranks = branches.map(({ A }) => A.shape[0]!);
  const rank = ranks.reduce((a, b) => a + b);
  const out = first.B.shape[0]!;
  const A = floatTensor([rank, ...first.A.shape.slice(1)]);
  const B = floatTensor([out, rank, ...first.B.shape.slice(2)]);
  let at = 0;
  branches.forEach((branch, i) => {
    const own = ranks[i]!;
    A.data.set(branch.A.data, at * (A.data.length / rank));
    for (let row = 0; row < out; row++) {
      B.data.set(branch.B.data.subarray(row * own, (row + 1) * own), row * rank + at);
    }
    at += own;
  });
  return { A, B, scale: 1 };
}

function mapBranches(adapter: ImageAdapter, change: (branch: ImageBranch) => ImageBranch): ImageAdapter {
  return new Map(
    [...adapter].map(([component, branches]) => [
      component,
      new Map([...branches].map(([module, branch]) => [module, change(branch)])),
    ]),
  );
}

/** A .safetensors file is kohya's; a folder takes diffusers' file. */
function targetOf(out: string): ImageTarget {
  return out.endsWith(".safetensors") ? "kohya" : "diffusers";
}

function write(
  out: string,
  to: ImageTarget,
  model: string,
  adapter: ImageAdapter,
  metadata: Readonly<Record<string, string>>,
): void {
  if (to === "peft") {
    for (const [component, branches] of adapter) {
      const modules = new Map([...branches].map(([module, branch]) => [module, lowRank(module, branch)]));
      const base = { base_model_name_or_path: join(model, component) };
      writeLora(join(out, component), plainConfig(modules.keys(), base), modules);
    }
    return;
  }
  if (to === "kohya") {
    if (!out.endsWith(".safetensors")) throw new UsageError(`--out ${out}: needed a file that ends in .safetensors.`);
    writeKohyaLora(out, pipelineOf(model), adapter, metadata);
    return;
  }
  const file = out.endsWith(".safetensors") ? out : join(out, "pytorch_lora_weights.safetensors");
  if (file !== out) mkdirSync(out, { recursive: true });
  writeDiffusersLora(file, adapter, metadata);
}

function lowRank(module: string, { A, B, scale }: ImageBranch): LowRank {
  if (A.shape.length > 2) {
    throw new UsageError(
      `${module} is a convolution: PEFT's folders of linear layers have no place for it. Use --to diffusers, which diffusers loads with PEFT.`,
    );
  }
  const [rank = 0, width = 0] = A.shape;
  return { rank, in: width, out: B.shape[0]!, A: A.data, B: B.data, scaling: scale, embedding: false };
}

/** The header's texts that say what a file was trained on. */
function kept({ metadata }: ReadLora): Record<string, string> {
  return Object.fromEntries([...metadata].filter(([name]) => /^(ss_|sshs_|modelspec\.)/.test(name)));
}

function resultOf(
  out: string,
  adapter: ImageAdapter,
  reads: readonly (readonly [string, ReadLora])[],
): ImageLoraResult {
  const branches = [...adapter.values()].flatMap((each) => [...each.values()]);
  return {
    out,
    modules: branches.length,
    r: Math.max(...branches.map(({ A }) => A.shape[0]!)),
    matched: reads.reduce((sum, [, { matched }]) => sum + matched, 0),
    tensors: reads.reduce((sum, [, { tensors }]) => sum + tensors, 0),
    warnings: reads.flatMap(([path, read]) => unmatchedText(path, read) ?? []),
  };
}
