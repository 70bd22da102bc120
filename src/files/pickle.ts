/**
 * A pickle reader that executes nothing: it knows numbers, strings, lists, tuples and dictionaries, and asks its caller
 * about every global and persistent id. Any other opcode is refused by name.
 * Source of the opcodes: Python's `pickletools`.
 */

import { FormatError } from "../errors.ts";
import { quoteName } from "./quote.ts";

export type PickleKey = string | number | bigint | boolean | null;

export type PickleValue = PickleKey | Uint8Array | PickleList | PickleTuple | PickleDict | PickleGlobal | PickleObject;

export interface PickleList {
  readonly kind: "list";
  readonly items: PickleValue[];
}

export interface PickleTuple {
  readonly kind: "tuple";
  readonly items: readonly PickleValue[];
}

export interface PickleDict {
  readonly kind: "dict";
  readonly items: Map<PickleKey, PickleValue>;
}

/** A name that the caller allowed; it stands for a type or function and is never looked up. */
export interface PickleGlobal {
  readonly kind: "global";
  readonly name: string;
}

/** Something that the caller made, of a `type` that the caller knows. */
export interface PickleObject {
  readonly kind: "object";
  readonly type: string;
}

export interface PickleRules {
  /** Names `module.name` that may stand in the file. */
  readonly globals: ReadonlySet<string>;
  /** What calling an allowed global gives; null when it may not be called so. */
  call(name: string, args: readonly PickleValue[]): PickleValue | null;
  /** What a persistent id stands for; null when it stands for nothing. */
  persistent(id: PickleValue): PickleValue | null;
}

export interface PickleResult {
  readonly value: PickleValue;
  /** Bytes up to the end of the pickle. */
  readonly byteLength: number;
}

/** Steps of one pickle; a checkpoint takes about 30 a tensor. */
const STEP_LIMIT = 5_000_000;
/** Bytes of a line (the names of a global), and of a whole number. */
const LINE_LIMIT = 1024;
const INTEGER_LIMIT = 32;

const MARK = Symbol("mark");

const STOP = 0x2e;

/** Opcodes that are refused, for the message. */
const REFUSED: Readonly<Record<number, string>> = {
  48: "POP",
  49: "POP_MARK",
  50: "DUP",
  70: "FLOAT",
  73: "INT",
  76: "LONG",
  80: "PERSID",
  83: "STRING",
  86: "UNICODE",
  103: "GET",
  105: "INST",
  111: "OBJ",
  112: "PUT",
  129: "NEWOBJ",
  130: "EXT1",
  131: "EXT2",
  132: "EXT4",
  143: "EMPTY_SET",
  144: "ADDITEMS",
  145: "FROZENSET",
  146: "NEWOBJ_EX",
  150: "BYTEARRAY8",
  151: "NEXT_BUFFER",
  152: "READONLY_BUFFER",
};

/** Reads the pickle at the start of `bytes`. Throws FormatError for everything that is not plain data. */
export function readPickle(bytes: Uint8Array, path: string, rules: PickleRules): PickleResult {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const stack: (PickleValue | typeof MARK)[] = [];
  const memo = new Map<number, PickleValue>();
  let at = 0;

  const damaged = (problem: string): never => {
    throw new FormatError(
      `${path}: damaged pickle, byte ${at}: ${problem}. Download the file again or save it anew with torch.save.`,
    );
  };
  const refuse = (what: string): never => {
    throw new FormatError(
      `${path}: the pickle uses ${what} (byte ${at}), which this reader refuses because pickles can run code: it takes ` +
        "tensors, numbers, texts, lists, tuples and dictionaries only. Save a plain state dict, or a safetensors file.",
    );
  };
  /** Moves on by `count` bytes and gives where they begin. */
  const take = (count: number): number => {
    if (count > bytes.byteLength - at)
      return damaged(`it needs ${count} more bytes, and ${bytes.byteLength - at} are left`);
    at += count;
    return at - count;
  };
  const slice = (count: number): Uint8Array => {
    const from = take(count);
    return bytes.subarray(from, from + count);
  };
  const text = (count: number): string => {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(slice(count));
    } catch (error) {
      if (error instanceof FormatError) throw error;
      return damaged("a text is not valid UTF-8");
    }
  };
  const line = (): string => {
    const end = bytes.subarray(at, at + LINE_LIMIT).indexOf(10);
    if (end < 0) return damaged(`no line ends within ${LINE_LIMIT} bytes`);
    const found = text(end);
    take(1);
    return found;
  };
  const length64 = (): number => Number(view.getBigUint64(take(8), true));

  const pop = (): PickleValue => {
    const value = stack.pop();
    if (value === undefined || value === MARK) return damaged("its stack is empty");
    return value;
  };
  const top = (): PickleValue => {
    const value = stack.at(-1);
    if (value === undefined || value === MARK) return damaged("its stack is empty");
    return value;
  };
  const popMark = (): PickleValue[] => {
    const mark = stack.lastIndexOf(MARK);
    if (mark < 0) return damaged("a mark is missing");
    const values = stack.splice(mark + 1) as PickleValue[];
    stack.pop();
    return values;
  };
  const tuple = (count: number): PickleTuple => {
    const items: PickleValue[] = [];
    for (let i = 0; i < count; i++) items.unshift(pop());
    return { kind: "tuple", items };
  };
  const append = (values: readonly PickleValue[]): void => {
    const list = top();
    if (!isKind(list, "list")) throw damaged("it appends to something that is no list");
    for (const value of values) list.items.push(value);
  };
  const setItems = (dict: PickleValue, pairs: readonly PickleValue[]): void => {
    if (!isKind(dict, "dict")) throw damaged("it sets an item of something that is no dictionary");
    if (pairs.length % 2 !== 0) damaged("a key has no value");
    for (let i = 0; i < pairs.length; i += 2) {
      const key = pairs[i]!;
      if (typeof key === "object" && key !== null) throw refuse("a dictionary whose keys are no plain values");
      dict.items.set(key, pairs[i + 1]!);
    }
  };
  const global = (module: PickleValue, name: PickleValue): PickleGlobal => {
    const whole = `${String(module)}.${String(name)}`;
    if (typeof module !== "string" || typeof name !== "string" || !rules.globals.has(whole)) {
      return refuse(`the global ${quoteName(whole)}`);
    }
    return { kind: "global", name: whole };
  };
  const call = (): PickleValue => {
    const [target, args] = [top2(), pop()];
    pop();
    if (!isKind(target, "global") || !isKind(args, "tuple"))
      return refuse("a call of something that is no known function");
    return rules.call(target.name, args.items) ?? refuse(`${target.name} with arguments it does not take`);
  };
  const top2 = (): PickleValue => {
    const value = stack.at(-2);
    return value === undefined || value === MARK ? damaged("its stack is empty") : value;
  };
  const remember = (key: number): void => {
    memo.set(key, top());
  };
  const recall = (key: number): PickleValue =>
    memo.get(key) ?? (memo.has(key) ? null : damaged(`nothing is remembered as ${key}`));
  const integer = (count: number): number | bigint => {
    if (count > INTEGER_LIMIT) return refuse(`a whole number of ${count} bytes`);
    let value = 0n;
    const digits = slice(count);
    for (let i = count - 1; i >= 0; i--) value = (value << 8n) | BigInt(digits[i]!);
    const signed = BigInt.asIntN(8 * count, value);
    return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
  };

  for (let steps = 0; ; steps++) {
    if (steps > STEP_LIMIT) return refuse(`more than ${STEP_LIMIT} steps`);
    const opcode = bytes[take(1)]!;
    switch (opcode) {
      case STOP: {
        const value = pop();
        if (stack.length > 0) damaged("it ends with more than one value");
        return { value, byteLength: at };
      }
      case 0x80: {
        // PROTO
        const version = bytes[take(1)]!;
        if (version > 5) damaged(`protocol ${version} is not known`);
        break;
      }
      case 0x95: // FRAME: only a hint of how much to read
        take(8);
        break;
      case 0x28:
        stack.push(MARK);
        break;
      case 0x4e:
        stack.push(null);
        break;
      case 0x88:
        stack.push(true);
        break;
      case 0x89:
        stack.push(false);
        break;
      case 0x4a: // BININT
        stack.push(view.getInt32(take(4), true));
        break;
      case 0x4b: // BININT1
        stack.push(bytes[take(1)]!);
        break;
      case 0x4d: // BININT2
        stack.push(view.getUint16(take(2), true));
        break;
      case 0x8a: // LONG1
        stack.push(integer(bytes[take(1)]!));
        break;
      case 0x8b: // LONG4
        stack.push(integer(view.getUint32(take(4), true)));
        break;
      case 0x47: // BINFLOAT
        stack.push(view.getFloat64(take(8), false));
        break;
      case 0x8c: // SHORT_BINUNICODE
      case 0x55: // SHORT_BINSTRING, which Python 2 wrote
        stack.push(text(bytes[take(1)]!));
        break;
      case 0x58: // BINUNICODE
      case 0x54: // BINSTRING
        stack.push(text(view.getUint32(take(4), true)));
        break;
      case 0x8d: // BINUNICODE8
        stack.push(text(length64()));
        break;
      case 0x43: // SHORT_BINBYTES
        stack.push(slice(bytes[take(1)]!));
        break;
      case 0x42: // BINBYTES
        stack.push(slice(view.getUint32(take(4), true)));
        break;
      case 0x8e: // BINBYTES8
        stack.push(slice(length64()));
        break;
      case 0x5d: // EMPTY_LIST
        stack.push({ kind: "list", items: [] });
        break;
      case 0x6c: // LIST
        stack.push({ kind: "list", items: popMark() });
        break;
      case 0x61: // APPEND
        append([pop()]);
        break;
      case 0x65: // APPENDS
        append(popMark());
        break;
      case 0x29: // EMPTY_TUPLE
        stack.push(tuple(0));
        break;
      case 0x85: // TUPLE1
      case 0x86:
      case 0x87: // TUPLE3
        stack.push(tuple(opcode - 0x84));
        break;
      case 0x74: // TUPLE
        stack.push({ kind: "tuple", items: popMark() });
        break;
      case 0x7d: // EMPTY_DICT
        stack.push({ kind: "dict", items: new Map() });
        break;
      case 0x64: {
        // DICT
        const dict: PickleDict = { kind: "dict", items: new Map() };
        setItems(dict, popMark());
        stack.push(dict);
        break;
      }
      case 0x73: {
        // SETITEM
        const [value, key] = [pop(), pop()];
        setItems(top(), [key, value]);
        break;
      }
      case 0x75: {
        // SETITEMS
        const pairs = popMark();
        setItems(top(), pairs);
        break;
      }
      case 0x63: // GLOBAL
        stack.push(global(line(), line()));
        break;
      case 0x93: {
        // STACK_GLOBAL
        const [name, module] = [pop(), pop()];
        stack.push(global(module, name));
        break;
      }
      case 0x52: // REDUCE
        stack.push(call());
        break;
      case 0x62: // BUILD: a state dict carries its modules' versions so, which nobody needs
        pop();
        if (!isKind(top(), "dict")) refuse("BUILD, which sets the state of an object");
        break;
      case 0x51: // BINPERSID
        stack.push(rules.persistent(pop()) ?? refuse("a persistent id that names no storage"));
        break;
      case 0x71: // BINPUT
        remember(bytes[take(1)]!);
        break;
      case 0x72: // LONG_BINPUT
        remember(view.getUint32(take(4), true));
        break;
      case 0x94: // MEMOIZE
        remember(memo.size);
        break;
      case 0x68: // BINGET
        stack.push(recall(bytes[take(1)]!));
        break;
      case 0x6a: // LONG_BINGET
        stack.push(recall(view.getUint32(take(4), true)));
        break;
      default: {
        const name = REFUSED[opcode];
        if (name) refuse(`the opcode ${name}`);
        damaged(`${opcode} is no opcode`);
      }
    }
  }
}

/** Whether a value is a container or object of this kind. */
export function isKind<K extends "list" | "tuple" | "dict" | "global" | "object">(
  value: PickleValue,
  kind: K,
): value is Extract<PickleValue, { readonly kind: K }> {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === kind;
}
