/**
 * Quantised copies of a checkpoint, made once and mapped from then on. One safetensors file holds everything that a
 * session maps (quantised matrices, and the float tensors as they are), because a session maps files of one folder.
 */

import { createHash } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../errors.ts";
import { sampleFile } from "../files/fingerprint.ts";
import {
  openSafetensors,
  readTensor,
  type TensorEntry,
  type WritableTensor,
  writeSafetensors,
} from "../files/safetensors.ts";
import type { Model } from "../models/open.ts";
import type { ModelTrace, Module } from "../models/trace.ts";
import { checkpointWeights, isPointwise, matrixOf, type TensorSource } from "../models/weights.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { sameShape } from "../tensor/shape.ts";
import type { StoredTensor } from "../tensor/tensor.ts";
import { VOCABULARY } from "./head.ts";
import { int8Weights } from "./int8.ts";
import type { Levels } from "./levels.ts";
import { firstReader, type Outliers } from "./outliers.ts";
import { columnScales, quantiseColumns, takeRows } from "./quantise-matrix.ts";

/** Raised whenever the numbers in the file would be others. */
const VERSION = 6;

export interface NamedTensor {
  readonly name: string;
  readonly tensor: StoredTensor;
}

/** Signed bytes [K, M] and the scale of each of the M columns. */
export interface ByteMatrix {
  readonly weights: NamedTensor;
  readonly scales: NamedTensor;
}

/** Outlier channels of what some layers read: their numbers i32 [k], and f32 [K] with 0 at these and 1 at the others. */
export interface OutlierInput {
  readonly channels: NamedTensor;
  readonly others: NamedTensor;
}

export interface QuantisedMatrix {
  /** [in, out] */
  readonly forward: ByteMatrix;
  /** [out, in]; null for small heads, whose backward stays in float32. */
  readonly backward: ByteMatrix | null;
  /** Whether it makes scores, whose gradient takes care (head.ts). */
  readonly head: boolean;
  /** Channels of its input that are multiplied in float32, where the forward bytes are zeros; null where there are none. */
  readonly outliers: { readonly input: OutlierInput; readonly rows: NamedTensor } | null; // rows f32 [k, out]
  readonly layout: "out,in" | "in,out";
}

export interface QuantisedBase {
  /** By the checkpoint's name of the matrix. */
  readonly matrices: ReadonlyMap<string, QuantisedMatrix>;
  /** The tensors that stay in floating point, from the same file. */
  readonly source: TensorSource;
}

export interface QuantiseOptions {
  /** Folder of the cache files. */
  readonly cacheDir: string;
  /** Largest magnitude of a weight: 127, or 63 where 8-bit products saturate. */
  readonly levels: Levels;
  /** Modules that stay in floating point. */
  keeps?(module: string): boolean;
  /** Finds channels that are multiplied in float32; asked when the copy is made. */
  outliers?(): Promise<Outliers>;
}

/** What can be quantised: a language model, or a component of a diffusion pipeline. */
export type Quantisable = Pick<Model, "name" | "source" | "files" | "weights">;

type LinearModule = Extract<Module, { kind: "linear" }>;

/**
 * The model with its frozen linear layers, and convolutions of one pixel, in eight bits; the quantised copy is made when
 * there is none.
 */
export async function quantiseModel<M extends Quantisable>(
  model: M,
  trace: ModelTrace,
  options: QuantiseOptions,
): Promise<M> {
  const quantised = await quantisedBase(model, trace, options);
  return {
    ...model,
    weights: (stream, replaced) =>
      int8Weights(checkpointWeights(quantised.source, stream, replaced), quantised, new Set(replaced?.keys())),
  };
}

async function quantisedBase(model: Quantisable, trace: ModelTrace, options: QuantiseOptions): Promise<QuantisedBase> {
  const { keeps = () => false, outliers = async () => new Map() } = options;
  const identity = [VERSION, options.levels, ...trace.tensors.keys(), ...model.files.map(sampleFile)].join("\n");
  const key = createHash("sha256").update(identity).digest("hex").slice(0, 24);
  const path = join(options.cacheDir, `${model.name}-int8-${key}.safetensors`);
  // A head that the checkpoint lacks is trained, and so in float32 anyway.
  const linears = [...trace.modules.values()].filter(
    (each): each is LinearModule => each.kind === "linear" && model.source.has(matrixOf(each.name, each.spec).name),
  );
  const modules = [...linears, ...pointwiseLayers(trace)].filter(({ name }) => !keeps(name));
  if (!existsSync(path)) {
    mkdirSync(options.cacheDir, { recursive: true });
    writeSafetensors(path, cacheTensors(model, trace, { modules, levels: options.levels, outliers: await outliers() }));
  }
  const { tensors } = openSafetensors(path);
  const named = (name: string): NamedTensor => ({ name, tensor: present(tensors, name, path) });
  const matrices = new Map<string, QuantisedMatrix>();
  const inputOf = (module: string): OutlierInput => {
    const first = firstReader(trace, module);
    return { channels: named(channelsName(first)), others: named(othersName(first)) };
  };
  for (const module of modules) {
    const { spec, head } = module;
    const { name } = matrixOf(module.name, spec);
    const bytes = (side: "forward" | "backward"): ByteMatrix => ({
      weights: named(`${name}.${side}`),
      scales: named(`${name}.${side}.scales`),
    });
    matrices.set(name, {
      forward: bytes("forward"),
      backward: sidesOf(module).includes("backward") ? bytes("backward") : null,
      head,
      outliers: tensors.has(rowsName(name)) ? { input: inputOf(module.name), rows: named(rowsName(name)) } : null,
      layout: spec.layout ?? "out,in",
    });
  }
  return { matrices, source: floatSource(tensors, path) };
}

/** Convolutions of one pixel, as the linear layers that they are. */
function pointwiseLayers({ convolutions }: ModelTrace): LinearModule[] {
  return [...convolutions.values()].flatMap(({ name, spec }) =>
    isPointwise(spec) ? [{ kind: "linear", name, spec: { in: spec.in, out: spec.out, bias: true }, head: false }] : [],
  );
}

const channelsName = (module: string): string => `${module}.outliers`;
const othersName = (module: string): string => `${module}.others`;
const rowsName = (matrix: string): string => `${matrix}.outliers.rows`;

interface Contents {
  readonly modules: readonly LinearModule[];
  readonly levels: number;
  readonly outliers: Outliers;
}

/** Everything the file holds, each tensor computed when it is written. */
function cacheTensors(
  model: Quantisable,
  trace: ModelTrace,
  { modules, levels, outliers }: Contents,
): [string, WritableTensor][] {
  const out: [string, WritableTensor][] = [];
  const quantised = new Set<string>();
  const inputs = new Map<string, number>(); // widths
  for (const module of modules) {
    const first = firstReader(trace, module.name);
    const channels = outliers.get(first) ?? [];
    if (channels.length > 0) inputs.set(first, module.spec.in);
    out.push(...matrixTensors(model, module, channels, levels));
    if (!module.head) quantised.add(matrixOf(module.name, module.spec).name);
  }
  for (const [first, K] of inputs) {
    const channels = Int32Array.from(outliers.get(first)!);
    out.push([channelsName(first), { dtype: "i32", shape: [channels.length], data: channels }]);
    const others = new Float32Array(K).fill(1);
    for (const channel of channels) others[channel] = 0;
    out.push([othersName(first), { dtype: "f32", shape: [K], data: others }]);
  }
  for (const [name, shape] of trace.tensors) {
    if (quantised.has(name) || !model.source.has(name)) continue;
    const tensor = model.source.find(name, shape);
    out.push([name, { dtype: tensor.dtype, shape, data: () => readTensor({ ...tensor, name, storedType: "" }).data }]);
  }
  return out;
}

/** A matrix in bytes, forward and backward; forward its rows for `channels` are floats. */
function matrixTensors(
  model: Quantisable,
  module: LinearModule,
  channels: readonly number[],
  levels: number,
): [string, WritableTensor][] {
  const { spec } = module;
  const { name, shape } = matrixOf(module.name, spec);
  const load = (): Float32Array => toFloat32(readTensor({ ...model.source.find(name, shape), name, storedType: "" }));
  const rowsAreOut = (spec.layout ?? "out,in") === "out,in";
  const out: [string, WritableTensor][] = [];
  for (const side of sidesOf(module)) {
    const [K, M] = side === "forward" ? [spec.in, spec.out] : [spec.out, spec.in];
    const quantise = { K, M, transposed: (side === "forward") === rowsAreOut, levels };
    const apart = side === "forward" ? channels : [];
    // The file's order has all floats before all bytes: they are held until then, matrices are read twice.
    let held: { readonly rows: Float32Array; readonly scales: Float32Array } | undefined;
    const floats = (): NonNullable<typeof held> => {
      if (held) return held;
      const values = load();
      held = { rows: takeRows(values, quantise, apart), scales: columnScales(values, quantise) };
      return held;
    };
    const bytes = (): Int8Array => {
      const values = load();
      takeRows(values, quantise, apart);
      return quantiseColumns(values, quantise, floats().scales);
    };
    out.push([`${name}.${side}.scales`, { dtype: "f32", shape: [M], data: () => floats().scales }]);
    out.push([`${name}.${side}`, { dtype: "i8", shape: [K, M], data: bytes }]);
    if (apart.length > 0) {
      out.push([rowsName(name), { dtype: "f32", shape: [apart.length, M], data: () => floats().rows }]);
    }
  }
  return out;
}

function sidesOf({ head, spec }: LinearModule): readonly ("forward" | "backward")[] {
  const small = spec.out < VOCABULARY || spec.layout === "in,out";
  return head && small ? ["forward"] : ["forward", "backward"];
}

/** The tensors that a cache file holds as they were. */
export function floatSource(tensors: ReadonlyMap<string, TensorEntry>, path: string): TensorSource {
  return {
    has: (name) => tensors.has(name),
    find: (name, shape) => {
      const tensor = present(tensors, name, path);
      if (sameShape(tensor.shape, shape)) return tensor;
      throw new ModelError(
        `${path}: ${name} has shape [${tensor.shape}], needed [${shape}]. Delete the file; it is made anew.`,
      );
    },
  };
}

export function present(tensors: ReadonlyMap<string, TensorEntry>, name: string, path: string): StoredTensor {
  const entry = tensors.get(name);
  if (!entry?.dtype) throw new ModelError(`${path}: ${name} is missing. Delete the file; it is made anew.`);
  return {
    dtype: entry.dtype,
    shape: entry.shape,
    path: entry.path,
    offset: entry.offset,
    byteLength: entry.byteLength,
  };
}
