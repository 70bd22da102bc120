/**
 * Checkpoints as torch.save writes them (`pytorch_model.bin`, `.pt`, `.pth`), without running anything: tensors are
 * found in the file and used from there, like those of a safetensors file.
 * Source of the layouts: PyTorch `torch/serialization.py`, `torch/_utils.py`.
 */

import { fstatSync, realpathSync } from "node:fs";
import { FormatError } from "../errors.ts";
import { byteLength as bytesOf } from "../tensor/dtype.ts";
import { sizeOf, stridesOf } from "../tensor/shape.ts";
import { type PickleRules, readPickle } from "./pickle.ts";
import { isKind, type PickleDict, type PickleValue } from "./pickle-values.ts";
import { quoteName } from "./quote.ts";
import { readExactly, withFile, withReadErrors } from "./read-file.ts";
import type { TensorEntry } from "./safetensors-header.ts";
import { STORED_TYPES } from "./safetensors-types.ts";
import { isTensor, storageBytes, storageOf, TORCH_RULES } from "./torch-pickle.ts";
import { type ReadAt, readZip } from "./zip.ts";

export interface TorchFile {
  /** The file itself, symbolic links followed. */
  readonly path: string;
  /** In the order of the state dict; tensors may share bytes. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

/** Keys under which training scripts put the state dict. */
const NESTED: readonly string[] = ["state_dict", "model_state_dict", "model", "module"];
/** Bytes; the pickle of a checkpoint with ten thousand tensors has two million. */
const PICKLE_LIMIT = 64 * 2 ** 20;
/** The numbers at the start of the form that torch wrote before 1.6. */
const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;
const LEGACY_VERSION = 1001;
const LISTED = 20;

interface Place {
  readonly offset: number;
  readonly byteLength: number;
}

/**
 * Finds the tensors of a state dict. Throws FormatError for a damaged file, for anything in it that is no plain data
 * (which is never executed), and for tensors that are views with gaps; LowrankError when the file cannot be read.
 */
export function openTorchFile(path: string): TorchFile {
  const real = withReadErrors(path, () => realpathSync(path));
  return withFile(real, (file) => {
    const size = fstatSync(file).size;
    return parse(real, size, (offset, length) => readExactly(file, real, offset, length));
  });
}

/** As `openTorchFile`, for a file in memory; `name` stands for its path. */
export function parseTorchFile(bytes: Uint8Array, name: string): TorchFile {
  return parse(name, bytes.byteLength, (offset, length) => bytes.subarray(offset, offset + length));
}

function parse(path: string, size: number, readAt: ReadAt): TorchFile {
  const start = readAt(0, Math.min(size, 64));
  const text = Buffer.from(start).toString("latin1");
  if (text.startsWith("version https://git-lfs")) {
    throw new FormatError(`${path}: it is a Git LFS pointer. Run \`git lfs pull\` to get the file itself.`);
  }
  const { value, places } = text.startsWith("PK\x03\x04")
    ? openZip(path, size, readAt)
    : openLegacy(path, size, readAt);
  return { path, tensors: entriesOf(path, stateDict(path, value), places) };
}

interface Opened {
  readonly value: PickleValue;
  readonly places: ReadonlyMap<string, Place>;
}

function openZip(path: string, size: number, readAt: ReadAt): Opened {
  const entries = readZip(path, size, readAt);
  const pickles = [...entries].filter(([name]) => /^[^/]+\/data\.pkl$/.test(name));
  const [found] = pickles;
  if (!found || pickles.length > 1) {
    throw new FormatError(
      `${path}: found ${pickles.length} entries NAME/data.pkl in the zip archive, needed 1. Is it a file of torch.save?`,
    );
  }
  const [name, { offset, byteLength }] = found;
  if (byteLength > PICKLE_LIMIT) throw tooLarge(path, byteLength);
  const root = name.slice(0, -"data.pkl".length);
  const order = entries.get(`${root}byteorder`);
  if (order && Buffer.from(readAt(order.offset, Math.min(order.byteLength, 16))).toString() !== "little") {
    throw new FormatError(
      `${path}: its numbers are stored big-endian, needed little-endian. Save it on another machine.`,
    );
  }
  const { value } = readPickle(readAt(offset, byteLength), path, TORCH_RULES);
  const data = `${root}data/`;
  const places = [...entries].filter(([each]) => each.startsWith(data));
  return { value, places: new Map(places.map(([each, place]) => [each.slice(data.length), place])) };
}

/** Before torch 1.6: five pickles (magic number, version, system, the value, storage keys), then the storages. */
function openLegacy(path: string, size: number, readAt: ReadAt): Opened {
  const head = readAt(0, Math.min(size, PICKLE_LIMIT));
  if (head[0] !== 0x80) {
    throw new FormatError(
      `${path}: neither a zip archive nor a pickle, so no file of torch.save. Download it again, or the model's safetensors files.`,
    );
  }
  const sizes = new Map<string, { storedType: string; count: number }>();
  const rules: PickleRules = {
    ...TORCH_RULES,
    persistent: (id) => {
      const storage = storageOf(id);
      if (storage) sizes.set(storage.key, storage);
      return storage;
    },
  };
  let at = 0;
  const next = (): PickleValue => {
    const { value, byteLength } = readPickle(head.subarray(at), path, rules);
    at += byteLength;
    return value;
  };
  if (next() !== LEGACY_MAGIC || next() !== LEGACY_VERSION) {
    throw new FormatError(`${path}: a pickle, but none that torch.save wrote. Save the state dict with torch.save.`);
  }
  const system = next();
  if (!isKind(system, "dict") || system.items.get("little_endian") !== true) {
    throw new FormatError(
      `${path}: its numbers are stored big-endian, needed little-endian. Save it on another machine.`,
    );
  }
  const value = next();
  const keys = next();
  const damaged = (problem: string): never => {
    throw new FormatError(`${path}: ${problem}. Download the file again or save it anew with torch.save.`);
  };
  const places = new Map<string, Place>();
  for (const key of isKind(keys, "list") ? keys.items : damaged("its list of storages is missing")) {
    const known = typeof key === "string" ? sizes.get(key) : undefined;
    if (!known || places.has(String(key))) return damaged("its list of storages does not match its tensors");
    if (at + 8 > size) damaged("the file ends before its tensors do: it is cut short");
    const count = Number(Buffer.from(readAt(at, 8)).readBigUInt64LE());
    if (count !== known.count) damaged(`a storage has ${count} elements, needed ${known.count}`);
    const byteLength = storageBytes(known);
    places.set(String(key), { offset: at + 8, byteLength });
    at += 8 + byteLength;
    if (at > size) damaged("the file ends before its tensors do: it is cut short");
  }
  return { value, places };
}

/** The dictionary that holds tensors: the file's value itself, or one that a training script wrapped. */
function stateDict(path: string, value: PickleValue): PickleDict {
  const holdsTensors = (each: PickleValue | undefined): each is PickleDict =>
    each !== undefined && isKind(each, "dict") && [...each.items.values()].some(isTensor);
  if (holdsTensors(value)) return value;
  const inner = isKind(value, "dict") ? NESTED.map((key) => value.items.get(key)).find(holdsTensors) : undefined;
  if (inner) return inner;
  const keys = isKind(value, "dict")
    ? [...value.items.keys()].slice(0, LISTED).map((key) => quoteName(String(key)))
    : [];
  throw new FormatError(
    `${path}: found no state dict${keys.length > 0 ? ` (it has the keys ${keys.join(", ")})` : ""}, needed a dictionary of ` +
      "tensors, or one under state_dict or model_state_dict. Save model.state_dict().",
  );
}

function entriesOf(path: string, dict: PickleDict, places: ReadonlyMap<string, Place>): Map<string, TensorEntry> {
  const entries = new Map<string, TensorEntry>();
  for (const [key, value] of dict.items) {
    if (!isTensor(value)) continue; // counters and the like
    const name = String(key);
    const { storage, from, shape, strides } = value;
    const what = `${path}: tensor ${quoteName(name)}`;
    const fail = (problem: string): never => {
      throw new FormatError(`${what}: ${problem}. Download the file again or save it anew with torch.save.`);
    };
    const place = places.get(storage.key);
    if (!place) return fail(`its storage ${quoteName(storage.key)} is missing`);
    if (place.byteLength !== storageBytes(storage)) {
      fail(
        `its storage has ${place.byteLength} bytes, ${storage.count} elements of ${storage.storedType} need ${storageBytes(storage)}`,
      );
    }
    if (!isContiguous(shape, strides)) {
      throw new FormatError(
        `${what}: it is a view (shape [${shape}], strides [${strides}]) whose elements do not lie one after another. ` +
          "Save it after .contiguous().",
      );
    }
    const count = sizeOf(shape);
    if (count > 0 && from + count > storage.count) {
      fail(`it needs elements ${from} to ${from + count} of a storage of ${storage.count}`);
    }
    const { storedType } = storage;
    const { dtype } = STORED_TYPES.get(storedType)!;
    const offset = place.offset + (count > 0 ? bytesOf(dtype!, from) : 0);
    entries.set(name, { name, dtype, storedType, shape, path, offset, byteLength: bytesOf(dtype!, count) });
  }
  return entries;
}

/** Row-major without gaps; the strides of axes of extent 1 say nothing. */
function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  const rowMajor = stridesOf(shape);
  return sizeOf(shape) === 0 || shape.every((extent, axis) => extent === 1 || strides[axis] === rowMajor[axis]);
}

function tooLarge(path: string, bytes: number): FormatError {
  return new FormatError(
    `${path}: its pickle has ${bytes} bytes, at most ${PICKLE_LIMIT} are read. Save a plain state dict.`,
  );
}
