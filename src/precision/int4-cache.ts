/** Four-bit copies of a checkpoint: one safetensors file, made once, mapped from then on. */

import { createHash } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { sampleFile } from "../files/fingerprint.ts";
import { lastOf } from "../files/last-of.ts";
import { openSafetensors, readTensor, type WritableTensor, writeSafetensors } from "../files/safetensors.ts";
import type { Model } from "../models/open.ts";
import type { ModelTrace } from "../models/trace.ts";
import { checkpointWeights, type LinearSpec, matrixOf } from "../models/weights.ts";
import { transpose } from "../tensor/linear-algebra.ts";
import type { StoredTensor } from "../tensor/tensor.ts";
import {
  type BlockFormat,
  type Blocks,
  type ByteBlocks,
  blockFormat,
  dequantiseBlocks,
  normalFloatQuads,
  type QuantType,
  quantiseBlocks,
  quantiseBytes,
} from "./blocks.ts";
import { floatSource, present } from "./cache.ts";
import { type BlockBase, type BlockGroup, type BlockMatrix, int4Weights } from "./int4.ts";

/** Raised whenever the numbers in the file would be others. */
const VERSION = 3;
const QUADS = "nf4.quads";
const ZEROS = "zeros";

export interface Int4CacheOptions {
  /** Folder of the cache files. */
  readonly cacheDir: string;
  readonly quantType: QuantType;
  /** For decoding: the fastest kernels, which round activations to eight bits, and the head in eight bits. */
  readonly decoding: boolean;
}

interface Planned {
  readonly name: string;
  readonly spec: LinearSpec;
  readonly format: BlockFormat;
}

/** Matrices that lie one under the other in the file, as layers that read one value are multiplied at once. */
type Stack = readonly Planned[];

/**
 * The model with its frozen linear layers in four bits; the copy is made when there is none. Rows whose width no block
 * fills, embeddings and the head stay as they are stored.
 */
export function int4Model(model: Model, trace: ModelTrace, options: Int4CacheOptions): Model {
  const { matrices: blocks, groups, source } = blockBase(model, trace, options);
  const matrices = options.decoding ? new Map([...blocks, ...headBase(model, trace, options)]) : blocks;
  const base = { matrices, groups };
  return {
    ...model,
    weights: (stream, replaced) =>
      int4Weights(checkpointWeights(source, stream, replaced), base, {
        trained: new Set(replaced?.keys()),
        rounded: options.decoding,
      }),
    read: (name, shape) => {
      const matrix = blocks.get(name);
      return matrix ? readBlocks(matrix) : model.read(name, shape);
    },
  };
}

/** The four-bit matrices of a model, in their cache file. */
function blockBase(model: Model, trace: ModelTrace, { cacheDir, quantType }: Int4CacheOptions): BlockBase {
  const stacks = plan(model, trace, quantType);
  const path = cacheFile(model, trace, cacheDir, quantType, () => cacheTensors(model, trace, stacks));
  const { tensors } = openSafetensors(path);
  const matrices = new Map<string, BlockMatrix>();
  const groups: BlockGroup[] = [];
  const quads = quantType === "nf4" ? present(tensors, QUADS, path) : null;
  for (const stack of stacks) {
    const [{ spec, format }] = stack as [Planned];
    const name = nameOf(stack);
    const joined: BlockMatrix = {
      name,
      out: rowsIn(stack),
      in: spec.in,
      block: format.block,
      layout: "out,in",
      codes: present(tensors, `${name}.codes`, path),
      scales: present(tensors, `${name}.scales`, path),
      bits: 4,
      middles: quads ? null : present(tensors, `${name}.middles`, path),
      zeros: present(tensors, ZEROS, path),
      quads,
    };
    const members = stack.map((each, i) => partOf(joined, rowsIn(stack.slice(0, i)), each));
    for (const member of members) matrices.set(member.name, member);
    if (members.length > 1 && quantType === "int4") groups.push({ members, joined });
  }
  return { matrices, groups, source: floatSource(tensors, path) };
}

/** Rows `from` and on of a stack: one of its matrices. */
function partOf(joined: BlockMatrix, from: number, { name, spec: { out, layout = "out,in" } }: Planned): BlockMatrix {
  const rows = (tensor: StoredTensor): StoredTensor => {
    const row = tensor.byteLength / joined.out;
    const shape = [out, ...tensor.shape.slice(1)];
    return { ...tensor, shape, offset: tensor.offset + from * row, byteLength: out * row };
  };
  const { codes, scales, middles } = joined;
  return {
    ...joined,
    name,
    out,
    layout,
    codes: rows(codes),
    scales: rows(scales),
    middles: middles && rows(middles),
  };
}

const nameOf = (stack: Stack): string => stack.map(({ name }) => name).join("+");
const rowsIn = (stack: Stack): number => stack.reduce((sum, { spec: { out } }) => sum + out, 0);

/** The path of a cache file that follows from the model's content; written when it is not there. */
function cacheFile(
  model: Model,
  trace: ModelTrace,
  cacheDir: string,
  kind: string,
  tensors: () => [string, WritableTensor][],
): string {
  const identity = ["int4", VERSION, kind, ...trace.tensors.keys(), ...model.files.map(sampleFile)].join("\n");
  const key = createHash("sha256").update(identity).digest("hex").slice(0, 24);
  const path = join(cacheDir, `${model.name}-${kind}-${key}.safetensors`);
  if (!existsSync(path)) {
    mkdirSync(cacheDir, { recursive: true });
    writeSafetensors(path, tensors());
  }
  return path;
}

/** Heads in eight bits, blocks of 32: decoding reads all of them for every token. */
export function headBase(
  model: Model,
  trace: ModelTrace,
  { cacheDir }: Pick<Int4CacheOptions, "cacheDir">,
): [string, BlockMatrix][] {
  const heads = new Map<string, LinearSpec>();
  for (const module of trace.modules.values()) {
    if (module.kind !== "linear" || !module.head) continue;
    const { name } = matrixOf(module.name, module.spec);
    if (module.spec.in % 32 === 0 && model.source.has(name)) heads.set(name, module.spec);
  }
  if (heads.size === 0) return [];
  const most = Math.max(...[...heads.values()].map((spec) => (spec.in * spec.out) / 32));
  const path = cacheFile(model, trace, cacheDir, "head8", () => [
    [ZEROS, { dtype: "u8", shape: [most], data: () => new Uint8Array(most).fill(128) }],
    ...[...heads].flatMap(([name, spec]): [string, WritableTensor][] => {
      const [N, blocks] = [spec.out, spec.in / 32];
      const bytes = (): ByteBlocks => quantiseBytes(rowsOf(model, name, spec));
      return [
        [`${name}.codes`, { dtype: "u8", shape: [N, spec.in], data: () => bytes().codes }],
        [`${name}.scales`, { dtype: "f32", shape: [N, blocks], data: () => bytes().scales }],
      ];
    }),
  ]);
  const { tensors } = openSafetensors(path);
  return [...heads].map(([name, spec]) => [
    name,
    {
      name,
      out: spec.out,
      in: spec.in,
      block: 32,
      layout: spec.layout ?? "out,in",
      bits: 8,
      codes: present(tensors, `${name}.codes`, path),
      scales: present(tensors, `${name}.scales`, path),
      middles: null,
      zeros: present(tensors, ZEROS, path),
      quads: null,
    },
  ]);
}

/**
 * Matrices that can be had in blocks, in stacks. A head's is often the embedding's, too, and is the one that loss depends
 * on most.
 */
function plan(model: Model, trace: ModelTrace, quantType: QuantType): Stack[] {
  const planned = new Map<string, Planned>();
  const byModule = new Map<string, Planned>();
  for (const module of trace.modules.values()) {
    if (module.kind !== "linear" || module.head) continue;
    const { name } = matrixOf(module.name, module.spec);
    const format = blockFormat(quantType, module.spec.in);
    if (!format || !model.source.has(name)) continue;
    const each = planned.get(name) ?? { name, spec: module.spec, format };
    planned.set(name, each);
    byModule.set(module.name, each);
  }
  const stacks = trace.siblings
    .map((names) => names.map((name) => byModule.get(name)))
    .filter((stack): stack is Planned[] => stack.every((each) => each !== undefined))
    .filter((stack) => new Set(stack).size === stack.length);
  const stacked = new Set(stacks.flat());
  const alone = [...planned.values()].filter((each) => !stacked.has(each));
  return [...stacks, ...alone.map((each) => [each])];
}

/** Everything the file holds, each tensor computed when it is written. */
function cacheTensors(model: Model, trace: ModelTrace, stacks: readonly Stack[]): [string, WritableTensor][] {
  const out: [string, WritableTensor][] = [];
  const planned = stacks.flat();
  const quantise = lastOf(
    (stack: Stack): Blocks =>
      stackedBlocks(stack.map((each) => quantiseBlocks(rowsOf(model, each.name, each.spec), each.format))),
  );
  for (const stack of stacks) {
    const [{ spec, format }] = stack as [Planned];
    const name = nameOf(stack);
    const [N, blocks] = [rowsIn(stack), spec.in / format.block];
    out.push([`${name}.codes`, { dtype: "u8", shape: [N, spec.in / 2], data: () => quantise(stack).codes }]);
    out.push([`${name}.scales`, { dtype: "f32", shape: [N, blocks], data: () => quantise(stack).scales }]);
    if (format.type === "nf4") continue;
    out.push([`${name}.middles`, { dtype: "f32", shape: [N, blocks], data: () => quantise(stack).middles }]);
  }
  const mostBlocks = Math.max(
    0,
    ...stacks.map((stack) => (rowsIn(stack) * stack[0]!.spec.in) / stack[0]!.format.block),
  );
  const zeros = (): Uint8Array => new Uint8Array(Math.ceil(mostBlocks / 2)).fill(0x88);
  out.push([ZEROS, { dtype: "u8", shape: [Math.ceil(mostBlocks / 2)], data: zeros }]);
  if (planned.some(({ format }) => format.type === "nf4")) {
    out.push([QUADS, { dtype: "f32", shape: [65536, 4], data: normalFloatQuads }]);
  }
  const quantised = new Set(planned.map(({ name }) => name));
  for (const [name, shape] of trace.tensors) {
    if (quantised.has(name) || !model.source.has(name)) continue;
    const tensor = model.source.find(name, shape);
    out.push([name, { dtype: tensor.dtype, shape, data: () => readTensor({ ...tensor, name, storedType: "" }).data }]);
  }
  return out;
}

function stackedBlocks(all: readonly Blocks[]): Blocks {
  return {
    codes: Buffer.concat(all.map(({ codes }) => codes)),
    scales: joinedFloats(all.map(({ scales }) => scales)),
    middles: joinedFloats(all.map(({ middles }) => middles)),
  };
}

function joinedFloats(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The matrix as float32 [out, in], however the checkpoint has it. */
function rowsOf(model: Model, name: string, { in: width, out, layout }: LinearSpec): Float32Array {
  if (layout === "in,out") return Float32Array.from(transpose(model.read(name, [width, out]), width, out));
  return model.read(name, [out, width]);
}

/** The numbers that a four-bit matrix stands for, in the checkpoint's layout. */
function readBlocks({ name, out, in: width, block, layout, codes, scales, middles, quads }: BlockMatrix): Float32Array {
  const read = (tensor: typeof codes): Uint8Array | Float32Array =>
    readTensor({ ...tensor, name, storedType: "" }).data as Uint8Array | Float32Array;
  const blocks: Blocks = {
    codes: read(codes) as Uint8Array,
    scales: read(scales) as Float32Array,
    middles: middles ? (read(middles) as Float32Array) : new Float32Array(0),
  };
  const values = dequantiseBlocks(blocks, { type: quads ? "nf4" : "int4", block });
  return layout === "in,out" ? Float32Array.from(transpose(values, out, width)) : values;
}
