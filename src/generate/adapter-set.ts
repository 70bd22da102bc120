/**
 * Adapters with weights, as decoding takes them. Sets of low-rank branches alone run together, whatever is in them: they
 * are stacked. Others have sessions of their own: adapters are mounted in numbered slots and weights are multiplied into
 * the tensors that are fed, so that a session serves every set of the same structure.
 */

import { createHash } from "node:crypto";
import type { Adapter } from "../adapters/adapter.ts";
import { UsageError } from "../errors.ts";
import type { Model } from "../models/open.ts";
import { NO_VIRTUAL, type VirtualTokens } from "../program/layout.ts";
import type { MountedAdapter } from "../program/program.ts";
import type { FloatTensor, Tensor } from "../tensor/tensor.ts";
import { readStored } from "./held.ts";
import { type BranchSizes, type RankedAdapter, rankedAdapter } from "./rank-stack.ts";

/** An adapter and the factor on its whole effect. */
export type WeightedAdapter = readonly [adapter: Adapter, weight: number];

export interface AdapterSet {
  /** Names contents and weights: equal ones compute the same. */
  readonly identity: string;
  /** Sequences of one group run in one batch. */
  readonly group: string;
  /** The set as part of a stack; empty for the base alone, null for a set that has to run by itself. */
  readonly stacked: readonly StackedUse[] | null;
  /** Names the structure of what is mounted: sets of one key run in the same sessions. */
  readonly key: string;
  readonly mounted: readonly MountedAdapter[];
  /** The mounted adapters' tensors by input name. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly virtual: VirtualTokens;
  /** Whether the tensors are part of the graph instead of being fed. */
  readonly constant?: boolean;
}

export interface StackedUse {
  readonly adapter: RankedAdapter & { readonly sizes: BranchSizes };
  readonly weight: number;
}

/** The group of all sets that can be stacked. */
const STACKED = "stacked";

/** Fields of a configuration that do not change what its tensors compute. */
const PROVENANCE = new Set([
  "base_model_name_or_path",
  "revision",
  "task_type",
  "inference_mode",
  "lora_dropout",
  "init_ia3_weights",
  "init_weights",
]);

/** Makes the sets of one model, and keeps what they have in common: structures, and tensors with a weight in them. */
export function adapterSets(model: Model): (adapters: readonly WeightedAdapter[]) => AdapterSet {
  const facts = new WeakMap<Adapter, AdapterFacts>();
  const atWeight = new WeakMap<
    Adapter,
    { readonly weight: number; readonly tensors: ReadonlyMap<string, FloatTensor> }
  >();

  const factsOf = (adapter: Adapter): AdapterFacts => {
    const held = facts.get(adapter);
    if (held) return held;
    const structure = structureOf(adapter);
    const made = { structure, identity: adapter.content ?? contentHash(adapter), ranked: rankedAdapter(adapter) };
    facts.set(adapter, made);
    return made;
  };

  /** The adapter's tensors at this weight; the last weight's are kept. */
  const tensorsAt = (adapter: Adapter, weight: number): ReadonlyMap<string, FloatTensor> => {
    if (weight === 1) return adapter.tensors;
    const held = atWeight.get(adapter);
    if (held?.weight === weight) return held.tensors;
    const tensors = new Map(
      [...adapter.tensors].map(([key, tensor]) => [key, weighted(model, adapter, key, tensor, weight)] as const),
    );
    atWeight.set(adapter, { weight, tensors });
    return tensors;
  };

  return (adapters) => {
    const used = adapters.filter(([, weight]) => weight !== 0); // an adapter of weight 0 is none
    for (const [, weight] of used) {
      if (!Number.isFinite(weight)) throw new UsageError(`An adapter's weight is ${weight}; needed a finite number.`);
    }
    const identity = used.map(([adapter, weight]) => `${factsOf(adapter).identity}@${weight}`).join("+");
    const stacked = used.flatMap(([adapter, weight]) => {
      const { ranked } = factsOf(adapter);
      return ranked ? [{ adapter: ranked, weight }] : [];
    });
    if (stacked.length === used.length) {
      return { identity, group: STACKED, stacked, key: "", mounted: [], tensors: new Map(), virtual: NO_VIRTUAL };
    }
    const keys: string[] = [];
    const tensors = new Map<string, Tensor>();
    const mounted = used.map(([adapter, weight], slot): MountedAdapter => {
      const fed = takesWeightInTensors(adapter);
      const prefix = `adapter${slot}/`;
      const { structure } = factsOf(adapter);
      for (const [key, tensor] of fed ? tensorsAt(adapter, weight) : adapter.tensors) tensors.set(prefix + key, tensor);
      keys.push(fed ? structure : `${structure} at ${weight}`);
      return { method: adapter.method, prefix, weight: fed ? 1 : weight };
    });
    return {
      identity,
      group: identity,
      stacked: null,
      key: keys.join("\n"),
      mounted,
      tensors,
      virtual: virtualOf(used),
    };
  };
}

/** A set that is part of its graph. */
export function fixedSet(adapters: readonly WeightedAdapter[]): AdapterSet {
  const tensors = new Map<string, Tensor>();
  const mounted = adapters.map(([adapter, weight], slot): MountedAdapter => {
    const prefix = `adapter${slot}/`;
    for (const [key, tensor] of adapter.tensors) tensors.set(prefix + key, tensor);
    return { method: adapter.method, prefix, weight };
  });
  const name = "fixed";
  return {
    identity: name,
    group: name,
    stacked: null,
    key: name,
    mounted,
    tensors,
    virtual: virtualOf(adapters),
    constant: true,
  };
}

/** A set of one mounted method whose tensors are in training, so that nothing of it may be kept. */
export function mountedSet(
  identity: string,
  adapter: MountedAdapter,
  tensors: ReadonlyMap<string, Tensor>,
  virtual: VirtualTokens,
): AdapterSet {
  return { identity, group: identity, stacked: null, key: identity, mounted: [adapter], tensors, virtual };
}

interface AdapterFacts {
  readonly structure: string;
  readonly identity: string;
  readonly ranked: StackedUse["adapter"] | null;
}

function structureOf(adapter: Adapter): string {
  const config = Object.entries(adapter.config).filter(([name]) => !PROVENANCE.has(name));
  const shapes = [...adapter.method.parameters.values()].map(({ key, shape }) => `${key}[${shape}]`);
  return JSON.stringify([config.toSorted(([a], [b]) => (a < b ? -1 : 1)), shapes]);
}

/** SHA-256 of configuration and values: what an adapter computes with, whatever it is called. */
function contentHash({ config, method, tensors }: Adapter): string {
  const fields = JSON.stringify(Object.entries(config).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  const hash = createHash("sha256").update(`${fields.length} ${fields}`);
  for (const key of method.parameters.keys()) {
    const { data } = tensors.get(key)!;
    hash.update(`${key.length} ${key} ${data.byteLength} `);
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest("hex");
}
/** Whether the adapter's whole effect can be weighed in its tensors: linear in B, affine in IA3's factors and whole tensors. */
function takesWeightInTensors({ config, method }: Adapter): boolean {
  if (config.peft_type === "LORA") return !config.use_dora && config.trainable_token_indices === null;
  return config.peft_type !== "PROMPT_TUNING" && config.peft_type !== "PREFIX_TUNING" && method.mergeable;
}

/** The tensor of `key` such that the adapter at weight 1 does with it what it does with its own at `weight`. */
function weighted(model: Model, { method }: Adapter, key: string, tensor: FloatTensor, weight: number): FloatTensor {
  if (/\.lora_(embedding_)?B(\.weight)?$/.test(key)) return scaled(tensor, weight);
  if (key.endsWith(".ia3_l")) return map(tensor, (value) => 1 + weight * (value - 1));
  const { checkpoint, shape } = method.parameters.get(key)!;
  if (checkpoint === undefined) return tensor;
  const base = readStored(model, checkpoint, shape); // the tensor is taken whole in its place
  return map(tensor, (value, i) => base[i]! + weight * (value - base[i]!));
}

function virtualOf(adapters: readonly WeightedAdapter[]): VirtualTokens {
  const all = adapters.flatMap(([{ method }]) =>
    method.virtual && method.virtual.prompt + method.virtual.prefix > 0 ? [method.virtual] : [],
  );
  if (all.length > 1) throw new UsageError("Only one adapter may be a prompt or a prefix: two have no weighted sum.");
  return all[0] ?? NO_VIRTUAL;
}

/** A loop of its own: a switch of weights has to be quick. */
function scaled(tensor: FloatTensor, factor: number): FloatTensor {
  const { data } = tensor;
  const product = new Float32Array(data.length);
  for (let i = 0; i < data.length; i++) product[i] = factor * data[i]!;
  return { ...tensor, data: product };
}

function map(tensor: FloatTensor, of: (value: number, i: number) => number): FloatTensor {
  return { ...tensor, data: tensor.data.map(of) };
}
