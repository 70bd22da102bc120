/**
 * A pickle reader that executes nothing: it knows numbers, strings, lists, tuples and dictionaries, and asks its caller
 * about every global and persistent id. Any other opcode is refused by name.
 * Source of the opcodes: Python's `pickletools`.
 */

import { pickleBytes } from "./pickle-bytes.ts";
import { append, emptyDict, emptyList, pickleStack, popTuple, setItems } from "./pickle-stack.ts";
import { isKind, type PickleGlobal, type PickleValue } from "./pickle-values.ts";
import { quoteName } from "./quote.ts";

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

/** Reads the pickle at the start of `source`. Throws FormatError for everything that is not plain data. */
export function readPickle(source: Uint8Array, path: string, rules: PickleRules): PickleResult {
  const bytes = pickleBytes(source, path);
  const stack = pickleStack(bytes.damaged);
  const memo = new Map<number, PickleValue>();

  const global = (module: PickleValue, name: PickleValue): PickleGlobal => {
    const whole = `${String(module)}.${String(name)}`;
    if (typeof module !== "string" || typeof name !== "string" || !rules.globals.has(whole)) {
      return bytes.refuse(`the global ${quoteName(whole)}`);
    }
    return { kind: "global", name: whole };
  };
  const call = (): PickleValue => {
    const [args, target] = [stack.pop(), stack.pop()];
    if (!isKind(target, "global") || !isKind(args, "tuple"))
      return bytes.refuse("a call of something that is no known function");
    return rules.call(target.name, args.items) ?? bytes.refuse(`${target.name} with arguments it does not take`);
  };
  const remember = (key: number): void => {
    memo.set(key, stack.top());
  };
  const recall = (key: number): PickleValue =>
    memo.get(key) ?? (memo.has(key) ? null : bytes.damaged(`nothing is remembered as ${key}`));

  for (let steps = 0; ; steps++) {
    if (steps > STEP_LIMIT) return bytes.refuse(`more than ${STEP_LIMIT} steps`);
    const opcode = bytes.byte();
    switch (opcode) {
      case STOP: {
        const value = stack.pop();
        if (stack.size() > 0) bytes.damaged("it ends with more than one value");
        return { value, byteLength: bytes.position() };
      }
      case 0x80: {
        // PROTO
        const version = bytes.byte();
        if (version > 5) bytes.damaged(`protocol ${version} is not known`);
        break;
      }
      case 0x95: // FRAME: only a hint of how much to read
        bytes.skip(8);
        break;
      case 0x28:
        stack.pushMark();
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
        stack.push(bytes.int32());
        break;
      case 0x4b: // BININT1
        stack.push(bytes.byte());
        break;
      case 0x4d: // BININT2
        stack.push(bytes.uint16());
        break;
      case 0x8a: // LONG1
        stack.push(bytes.integer(bytes.byte()));
        break;
      case 0x8b: // LONG4
        stack.push(bytes.integer(bytes.uint32()));
        break;
      case 0x47: // BINFLOAT
        stack.push(bytes.float64());
        break;
      case 0x8c: // SHORT_BINUNICODE
      case 0x55: // SHORT_BINSTRING, which Python 2 wrote
        stack.push(bytes.text(bytes.byte()));
        break;
      case 0x58: // BINUNICODE
      case 0x54: // BINSTRING
        stack.push(bytes.text(bytes.uint32()));
        break;
      case 0x8d: // BINUNICODE8
        stack.push(bytes.text(bytes.length64()));
        break;
      case 0x43: // SHORT_BINBYTES
        stack.push(bytes.slice(bytes.byte()));
        break;
      case 0x42: // BINBYTES
        stack.push(bytes.slice(bytes.uint32()));
        break;
      case 0x8e: // BINBYTES8
        stack.push(bytes.slice(bytes.length64()));
        break;
      case 0x5d: // EMPTY_LIST
        stack.push(emptyList());
        break;
      case 0x6c: // LIST
        stack.push(emptyList(stack.popMark()));
        break;
      case 0x61: {
        // APPEND
        const value = stack.pop();
        append(stack.top(), [value], bytes.damaged);
        break;
      }
      case 0x65: {
        // APPENDS
        const values = stack.popMark();
        append(stack.top(), values, bytes.damaged);
        break;
      }
      case 0x29: // EMPTY_TUPLE
        stack.push(popTuple(stack, 0));
        break;
      case 0x85: // TUPLE1
      case 0x86:
      case 0x87: // TUPLE3
        stack.push(popTuple(stack, opcode - 0x84));
        break;
      case 0x74: // TUPLE
        stack.push({ kind: "tuple", items: stack.popMark() });
        break;
      case 0x7d: // EMPTY_DICT
        stack.push(emptyDict());
        break;
      case 0x64: {
        // DICT
        const dict = emptyDict();
        setItems(dict, stack.popMark(), bytes);
        stack.push(dict);
        break;
      }
      case 0x73: {
        // SETITEM
        const [value, key] = [stack.pop(), stack.pop()];
        setItems(stack.top(), [key, value], bytes);
        break;
      }
      case 0x75: {
        // SETITEMS
        const pairs = stack.popMark();
        setItems(stack.top(), pairs, bytes);
        break;
      }
      case 0x63: // GLOBAL
        stack.push(global(bytes.line(), bytes.line()));
        break;
      case 0x93: {
        // STACK_GLOBAL
        const [name, module] = [stack.pop(), stack.pop()];
        stack.push(global(module, name));
        break;
      }
      case 0x52: // REDUCE
        stack.push(call());
        break;
      case 0x62: // BUILD: a state dict carries its modules' versions so, which nobody needs
        stack.pop();
        if (!isKind(stack.top(), "dict")) bytes.refuse("BUILD, which sets the state of an object");
        break;
      case 0x51: // BINPERSID
        stack.push(rules.persistent(stack.pop()) ?? bytes.refuse("a persistent id that names no storage"));
        break;
      case 0x71: // BINPUT
        remember(bytes.byte());
        break;
      case 0x72: // LONG_BINPUT
        remember(bytes.uint32());
        break;
      case 0x94: // MEMOIZE
        remember(memo.size);
        break;
      case 0x68: // BINGET
        stack.push(recall(bytes.byte()));
        break;
      case 0x6a: // LONG_BINGET
        stack.push(recall(bytes.uint32()));
        break;
      default: {
        const name = REFUSED[opcode];
        if (name) bytes.refuse(`the opcode ${name}`);
        bytes.damaged(`${opcode} is no opcode`);
      }
    }
  }
}
