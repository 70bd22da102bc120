/**
 * SentencePiece's model file: a ModelProto in protobuf's encoding, of which the fields that decide tokens are read.
 *
 * Files come from strangers: sizes are capped, and wire types that the schema does not use are refused.
 * Source: sentencepiece `src/sentencepiece_model.proto`; protobuf "Encoding".
 */

import { readFileSync, statSync } from "node:fs";
import { FormatError } from "../errors.ts";

export type PieceKind = "normal" | "unknown" | "control" | "user-defined" | "unused" | "byte";

export interface Piece {
  readonly text: string;
  readonly score: number;
  readonly kind: PieceKind;
}

export interface SentencePieceModel {
  readonly path: string;
  readonly algorithm: "unigram" | "bpe";
  /** By id, each text once. */
  readonly pieces: readonly Piece[];
  /** Id of the unknown piece, one of `pieces`. */
  readonly unknownId: number;
  readonly unknownPiece: string;
  /** Null where the model was trained without such a piece. */
  readonly beginPiece: string | null;
  readonly endPiece: string | null;
  readonly byteFallback: boolean;
  /** Null when it is empty: the text is taken as it is. */
  readonly charsmap: Uint8Array | null;
  readonly addsDummyPrefix: boolean;
  readonly removesExtraSpaces: boolean;
  readonly escapesSpaces: boolean;
}

const LARGEST_FILE = 64 * 2 ** 20;
const MOST_PIECES = 2 ** 21;
/** Bytes of one piece. The trainer's default limit is 16 characters; merges take time with the square of it. */
const LONGEST_PIECE = 512;
const KINDS: Readonly<Record<number, PieceKind>> = {
  1: "normal",
  2: "unknown",
  3: "control",
  4: "user-defined",
  5: "unused",
  6: "byte",
};

/** Throws a FormatError for a broken file and for models that would be split otherwise than is done here. */
export function readSentencePieceModel(path: string): SentencePieceModel {
  const { size } = statSync(path);
  if (size > LARGEST_FILE) {
    throw new FormatError(`${path}: ${size} bytes; a SentencePiece model of at most ${LARGEST_FILE} is read.`);
  }
  const fail = failing(path);
  const model = new Fields(readFileSync(path), fail);
  const trainer = new Fields(model.bytes(2) ?? new Uint8Array(), fail);
  const normalizer = new Fields(model.bytes(3) ?? new Uint8Array(), fail);
  const pieces = piecesOf(model, fail);
  const algorithm = trainer.integer(3) ?? 1;
  if (algorithm !== 1 && algorithm !== 2) {
    fail(`its model_type is ${algorithm}; 1 (unigram) and 2 (BPE) are read`);
  }
  if (trainer.flag(24, false)) fail("treat_whitespace_as_suffix is set, which is not read");
  const unknownId = trainer.integer(40) ?? 0;
  if (unknownId < 0 || unknownId >= pieces.length) fail(`its unk_id is ${unknownId} of ${pieces.length} pieces`);
  const charsmap = normalizer.bytes(2);
  return {
    path,
    algorithm: algorithm === 1 ? "unigram" : "bpe",
    pieces,
    unknownId,
    unknownPiece: trainer.text(45) ?? "<unk>",
    beginPiece: (trainer.integer(41) ?? 1) < 0 ? null : trainer.text(46) || "<s>",
    endPiece: (trainer.integer(42) ?? 2) < 0 ? null : trainer.text(47) || "</s>",
    byteFallback: trainer.flag(35, false),
    charsmap: charsmap === null || charsmap.byteLength === 0 ? null : charsmap,
    addsDummyPrefix: normalizer.flag(3, true),
    removesExtraSpaces: normalizer.flag(4, true),
    escapesSpaces: normalizer.flag(5, true),
  };
}

type Fail = (problem: string) => never;

function failing(path: string): Fail {
  return (problem) => {
    throw new FormatError(
      `${path}: this SentencePiece model cannot be read: ${problem}. Download it again, or take the model's tokenizer.json.`,
    );
  };
}

function piecesOf(model: Fields, fail: Fail): Piece[] {
  const messages = model.all(1);
  if (messages.length === 0) fail("it has no pieces");
  if (messages.length > MOST_PIECES) fail(`it has ${messages.length} pieces, more than ${MOST_PIECES}`);
  const seen = new Set<string>();
  return messages.map((message, id) => {
    const fields = new Fields(message instanceof Uint8Array ? message : fail(`piece ${id} is no message`), fail);
    const text = fields.text(1) ?? "";
    const kind = KINDS[fields.integer(3) ?? 1] ?? fail(`piece ${id} is of the kind ${fields.integer(3)}; 1 to 6 exist`);
    const score = fields.float(2) ?? 0;
    if (text === "" || (fields.bytes(1)?.byteLength ?? 0) > LONGEST_PIECE) {
      fail(`piece ${id} has ${fields.bytes(1)?.byteLength ?? 0} bytes; 1 to ${LONGEST_PIECE} are needed`);
    }
    if (!Number.isFinite(score)) fail(`the score of piece ${id} is ${score}`);
    if (seen.has(text)) fail(`piece ${id}, ${JSON.stringify(text)}, stands twice`);
    seen.add(text);
    return { text, score, kind };
  });
}

/** Floats, varints, bytes; of 64-bit values, which no field here has, only that there was one. */
type Value = number | bigint | Uint8Array | "fixed64";

/** The fields of one message by number. Of a field given twice the last counts, as in protobuf. */
class Fields {
  private readonly values = new Map<number, Value[]>();
  private readonly data: Uint8Array;
  private readonly fail: Fail;
  private at = 0;

  constructor(data: Uint8Array, fail: Fail) {
    this.data = data;
    this.fail = fail;
    while (this.at < data.byteLength) {
      const key = Number(this.varint());
      const [field, wire] = [Math.floor(key / 8), key % 8];
      if (field === 0) fail("it has a field 0");
      const value = this.value(wire);
      const known = this.values.get(field);
      if (known) known.push(value);
      else this.values.set(field, [value]);
    }
  }

  all(field: number): readonly Value[] {
    return this.values.get(field) ?? [];
  }

  bytes(field: number): Uint8Array | null {
    const value = this.all(field).at(-1) ?? null;
    return value === null || value instanceof Uint8Array ? value : this.mistyped(field, "bytes");
  }

  text(field: number): string | null {
    const bytes = this.bytes(field);
    if (bytes === null) return null;
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      return this.fail(`field ${field} is no UTF-8`);
    }
  }

  /** An int32 or an enum. */
  integer(field: number): number | null {
    const value = this.all(field).at(-1) ?? null;
    if (value === null) return null;
    return typeof value === "bigint" ? Number(BigInt.asIntN(32, value)) : this.mistyped(field, "an integer");
  }

  flag(field: number, otherwise: boolean): boolean {
    const value = this.integer(field);
    return value === null ? otherwise : value !== 0;
  }

  float(field: number): number | null {
    const value = this.all(field).at(-1) ?? null;
    return value === null || typeof value === "number" ? value : this.mistyped(field, "a float");
  }

  private mistyped(field: number, needed: string): never {
    return this.fail(`field ${field} has another wire type than ${needed} has`);
  }

  private value(wire: number): Value {
    if (wire === 0) return this.varint();
    if (wire === 1) {
      this.take(8);
      return "fixed64";
    }
    if (wire === 2) return this.take(Number(this.varint()));
    if (wire !== 5) this.fail(`wire type ${wire} at byte ${this.at} of a message; 0, 1, 2 and 5 are read`);
    const four = this.take(4);
    return new DataView(four.buffer, four.byteOffset, 4).getFloat32(0, true);
  }

  private varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.data[this.at++];
      if (byte === undefined) return this.fail("it ends within a number");
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    return this.fail(`a number of more than 10 bytes ends at byte ${this.at}`);
  }

  private take(length: number): Uint8Array {
    const end = this.at + length;
    if (end > this.data.byteLength) this.fail(`a field of ${length} bytes at byte ${this.at} passes its end`);
    const part = this.data.subarray(this.at, end);
    this.at = end;
    return part;
  }
}
