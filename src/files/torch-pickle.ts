/** What torch.save puts into a pickle: storages, and tensors over them. */

import { byteLength as bytesOf } from "../tensor/dtype.ts";
import type { PickleRules } from "./pickle.ts";
import { isKind, type PickleDict, type PickleObject, type PickleValue } from "./pickle-values.ts";
import { STORED_TYPES } from "./safetensors-types.ts";

/** Storage classes and the types that they hold, as safetensors spells them. */
const STORAGES: ReadonlyMap<string, string> = new Map([
  ["torch.FloatStorage", "F32"],
  ["torch.DoubleStorage", "F64"],
  ["torch.HalfStorage", "F16"],
  ["torch.BFloat16Storage", "BF16"],
  ["torch.LongStorage", "I64"],
  ["torch.IntStorage", "I32"],
  ["torch.ShortStorage", "I16"],
  ["torch.CharStorage", "I8"],
  ["torch.ByteStorage", "U8"],
  ["torch.BoolStorage", "BOOL"],
]);
const TENSOR = "torch._utils._rebuild_tensor_v2";
const PARAMETER = "torch._utils._rebuild_parameter";
const ORDERED = "collections.OrderedDict";
const GLOBALS: ReadonlySet<string> = new Set([...STORAGES.keys(), TENSOR, PARAMETER, ORDERED]);
const RANK_LIMIT = 64;

export interface TorchStorage extends PickleObject {
  readonly type: "storage";
  readonly storedType: string;
  readonly key: string;
  /** Elements. */
  readonly count: number;
}

export interface TorchTensor extends PickleObject {
  readonly type: "tensor";
  readonly storage: TorchStorage;
  /** Elements into the storage. */
  readonly from: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/** What a state dict may hold. */
export const TORCH_RULES: PickleRules = {
  globals: GLOBALS,
  persistent: storageOf,
  call: (name, args) => {
    if (name === TENSOR) return tensorOf(args);
    if (name === PARAMETER) {
      const [tensor = null] = args;
      return isKind(tensor, "object") && tensor.type === "tensor" ? tensor : null;
    }
    return name === ORDERED ? orderedDict(args) : null;
  },
};

/** ("storage", class, key, device, elements); the old form adds a view, which only tensors of torch 0.3 used. */
export function storageOf(id: PickleValue): TorchStorage | null {
  if (!isKind(id, "tuple")) return null;
  const [tag, type = null, key, , count, view = null] = id.items;
  if (tag !== "storage" || !isKind(type, "global") || typeof key !== "string" || view !== null) return null;
  const storedType = STORAGES.get(type.name);
  if (storedType === undefined || !isCount(count)) return null;
  return { kind: "object", type: "storage", storedType, key, count };
}

/** (storage, offset, size, strides, requires_grad, hooks, …) */
function tensorOf([storage = null, from, size = null, strides = null]: readonly PickleValue[]): TorchTensor | null {
  if (!isKind(storage, "object") || storage.type !== "storage" || !isCount(from)) return null;
  const [shape, steps] = [countsOf(size), countsOf(strides)];
  if (!shape || !steps || shape.length !== steps.length || shape.length > RANK_LIMIT) return null;
  const found: TorchTensor = {
    kind: "object",
    type: "tensor",
    storage: storage as TorchStorage,
    from,
    shape,
    strides: steps,
  };
  return found;
}

/** OrderedDict(), or of a list of pairs. */
function orderedDict(args: readonly PickleValue[]): PickleDict | null {
  const [list] = args;
  const dict: PickleDict = { kind: "dict", items: new Map() };
  if (args.length === 0) return dict;
  if (args.length > 1 || !isKind(list!, "list")) return null;
  for (const pair of list.items) {
    if (!isKind(pair, "tuple") && !isKind(pair, "list")) return null;
    const [key, value] = pair.items;
    if (pair.items.length !== 2 || (typeof key === "object" && key !== null)) return null;
    dict.items.set(key!, value!);
  }
  return dict;
}

function countsOf(value: PickleValue): number[] | null {
  if (!isKind(value, "tuple") && !isKind(value, "list")) return null;
  return value.items.every(isCount) ? (value.items as number[]) : null;
}

function isCount(value: PickleValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

export function isTensor(value: PickleValue): value is TorchTensor {
  return isKind(value, "object") && value.type === "tensor";
}

export function storageBytes({ storedType, count }: { readonly storedType: string; readonly count: number }): number {
  return bytesOf(STORED_TYPES.get(storedType)!.dtype!, count);
}
