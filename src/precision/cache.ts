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
import { type ChannelSizes, firstReader } from "./calibrate.ts";
import { VOCABULARY } from "./head.ts";
import { int8Weights } from "./int8.ts";
import type { Levels } from "./levels.ts";
import { centreColumns, columnScales, quantiseColumns } from "./quantise-matrix.ts";
import { channelGains, spreadRows } from "./spread.ts";

/** Raised whenever the numbers in the file would be others. */
const VERSION = 8;

export interface NamedTensor {
  readonly name: string;
  readonly tensor: StoredTensor;
}

/** Signed bytes [K, M] and the scale of each of the M columns. */
export interface ByteMatrix {
  readonly weights: NamedTensor;
  readonly scales: NamedTensor;
}

export interface QuantisedMatrix {
  /** [in, out] */
  readonly forward: ByteMatrix;
  /** [out, in]; null for small heads, whose backward stays in float32. */
  readonly backward: ByteMatrix | null;
  /** Of a matrix that makes scores: its mean row f32 [in], which the backward bytes are without (head.ts); else null. */
  readonly mean: NamedTensor | null;
  /** Gains f32 [in] of its input, which is spread before it becomes bytes (spread.ts); null where it is not. */
  readonly gains: NamedTensor | null;
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
  /** Finds the inputs that are spread; asked when the copy is made. */
  uneven?(): Promise<ChannelSizes>;
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
  const { keeps = () => false, uneven = async () => new Map() } = options;
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
    writeSafetensors(path, cacheTensors(model, trace, { modules, levels: options.levels, uneven: await uneven() }));
  }
  const { tensors } = openSafetensors(path);
  const named = (name: string): NamedTensor => ({ name, tensor: present(tensors, name, path) });
  const namedIfThere = (name: string): NamedTensor | null => (tensors.has(name) ? named(name) : null);
  const matrices = new Map<string, QuantisedMatrix>();
  for (const module of modules) {
    const { spec } = module;
    const { name } = matrixOf(module.name, spec);
    const bytes = (side: "forward" | "backward"): ByteMatrix => ({
      weights: named(`${name}.${side}`),
      scales: named(`${name}.${side}.scales`),
    });
    matrices.set(name, {
      forward: bytes("forward"),
      backward: sidesOf(module).includes("backward") ? bytes("backward") : null,
      mean: namedIfThere(meanName(name)),
      gains: namedIfThere(gainsName(firstReader(trace, module.name))),
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

const meanName = (matrix: string): string => `${matrix}.mean`;
const gainsName = (module: string): string => `${module}.gains`;

interface Contents {
  readonly modules: readonly LinearModule[];
  readonly levels: number;
  readonly uneven: ChannelSizes;
}

/** Everything the file holds, each tensor computed when it is written. */
function cacheTensors(
  model: Quantisable,
  trace: ModelTrace,
  { modules, levels, uneven }: Contents,
): [string, WritableTensor][] {
  const out: [string, WritableTensor][] = [];
  const quantised = new Set<string>();
  const gains = new Map([...uneven].map(([first, sizes]) => [first, channelGains(sizes)]));
  for (const module of modules) {
    out.push(...matrixTensors(model, module, gains.get(firstReader(trace, module.name)), levels));
    if (!module.head) quantised.add(matrixOf(module.name, module.spec).name);
  }
  for (const [first, data] of gains) out.push([gainsName(first), { dtype: "f32", shape: [data.length], data }]);
  for (const [name, shape] of trace.tensors) {
    if (quantised.has(name) || !model.source.has(name)) continue;
    const tensor = model.source.find(name, shape);
    out.push([name, { dtype: tensor.dtype, shape, data: () => readTensor({ ...tensor, name, storedType: "" }).data }]);
  }
  return out;
}

/** A matrix in bytes, forward and backward; forward for an input that is spread by `gains`. */
function matrixTensors(
  model: Quantisable,
  module: LinearModule,
  gains: Float32Array | undefined,
  levels: number,
): [string, WritableTensor][] {
  const { spec } = module;
  const { name, shape } = matrixOf(module.name, spec);
  const rowsAreOut = (spec.layout ?? "out,in") === "out,in";
  const out: [string, WritableTensor][] = [];
  for (const side of sidesOf(module)) {
    const [K, M] = side === "forward" ? [spec.in, spec.out] : [spec.out, spec.in];
    const quantise = { K, M, transposed: (side === "forward") === rowsAreOut, levels };
    const centred = module.head && side === "backward";
    const load = (): { values: Float32Array; mean: Float32Array | null } => {
      const values = toFloat32(readTensor({ ...model.source.find(name, shape), name, storedType: "" }));
      if (gains && side === "forward") spreadRows(values, quantise, gains);
      return { values, mean: centred ? centreColumns(values, quantise) : null };
    };
    // The file's order has all floats before all bytes: they are held until then, matrices are read twice.
    let held: { readonly scales: Float32Array; readonly mean: Float32Array | null } | undefined;
    const floats = (): NonNullable<typeof held> => {
      if (held) return held;
      const { values, mean } = load();
      held = { scales: columnScales(values, quantise), mean };
      return held;
    };
    const bytes = (): Int8Array => quantiseColumns(load().values, quantise, floats().scales);
    out.push([`${name}.${side}.scales`, { dtype: "f32", shape: [M], data: () => floats().scales }]);
    if (centred) {
      out.push([meanName(name), { dtype: "f32", shape: [M], data: () => floats().mean! }]);
    }
    out.push([`${name}.${side}`, { dtype: "i8", shape: [K, M], data: bytes }]);
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
