/**
 * Where the special tokens go: `post_processor` of tokenizer.json as two templates, one text and two.
 *
 * Done here and not by the npm tokenizer, which drops an empty second text, loses the pair behind a ByteLevel processor
 * and gives RoBERTa segment 1 though RoBERTa has a single segment.
 * Source: Rust `tokenizers` `processors/{template,bert,roberta}.rs`, `utils/truncation.rs`.
 */

import { FormatError } from "../errors.ts";
import { isObject, type JsonObject } from "./json-values.ts";

export type Piece =
  | { readonly sequence: "A" | "B"; readonly type: number }
  | { readonly ids: readonly number[]; readonly type: number };

export interface Template {
  readonly single: readonly Piece[];
  readonly pair: readonly Piece[];
}

export interface Assembled {
  readonly ids: Int32Array;
  /** Segment of each token. */
  readonly typeIds: Int32Array;
  /** Position in A of each token, -1 for special tokens and for B. */
  readonly origin: Int32Array;
  readonly truncated: boolean;
}

const PLAIN: Template = {
  single: [{ sequence: "A", type: 0 }],
  pair: [
    { sequence: "A", type: 0 },
    { sequence: "B", type: 1 },
  ],
};

/** The templates that `post_processor` describes. */
export function templateOf(processor: unknown, path: string): Template {
  if (!isObject(processor) || processor["type"] === "ByteLevel") return PLAIN;
  switch (processor["type"]) {
    case "TemplateProcessing":
      return { single: pieces(processor, "single", path), pair: pieces(processor, "pair", path) };
    case "BertProcessing":
    case "RobertaProcessing": {
      const roberta = processor["type"] === "RobertaProcessing";
      const [cls, sep] = [idOf(processor["cls"], path), idOf(processor["sep"], path)];
      const single: Piece[] = [
        { ids: [cls], type: 0 },
        { sequence: "A", type: 0 },
        { ids: [sep], type: 0 },
      ];
      const between: Piece[] = roberta ? [{ ids: [sep], type: 0 }] : [];
      const type = roberta ? 0 : 1;
      return { single, pair: [...single, ...between, { sequence: "B", type }, { ids: [sep], type }] };
    }
    case "Sequence": {
      const all = Array.isArray(processor["processors"]) ? processor["processors"].filter(isObject) : [];
      const placing = all.filter((entry) => entry["type"] !== "ByteLevel");
      if (placing.length <= 1) return templateOf(placing[0], path);
    }
  }
  throw new FormatError(
    `${path}: post_processor ${JSON.stringify(processor["type"])} cannot be read; TemplateProcessing, BertProcessing, ` +
      `RobertaProcessing and ByteLevel can.`,
  );
}

/** transformers' template for `add_bos_token` and `add_eos_token`, which replaces the file's when either is given. */
export function boundaryTemplate(begin: number | null, end: number | null): Template {
  const around = (sequence: "A" | "B", type: number): Piece[] => [
    ...(begin === null ? [] : [{ ids: [begin], type }]),
    { sequence, type },
    ...(end === null ? [] : [{ ids: [end], type }]),
  ];
  return { single: around("A", 0), pair: [...around("A", 0), ...around("B", 1)] };
}

/**
 * `a` (and `b`) with special tokens. Longer than `limit` tokens, texts are cut on the right, the longer one first, so
 * that the special tokens stay (transformers' `truncation=True`).
 */
export function assemble(
  template: Template,
  a: readonly number[],
  b: readonly number[] | null,
  limit: number,
): Assembled {
  const parts = b === null ? template.single : template.pair;
  const added = parts.reduce((sum, part) => sum + ("ids" in part ? part.ids.length : 0), 0);
  const [keepA, keepB] = kept(a.length, b?.length ?? 0, Math.max(0, limit - added));
  const ids: number[] = [];
  const types: number[] = [];
  const origin: number[] = [];
  for (const part of parts) {
    const from = "ids" in part ? part.ids : part.sequence === "A" ? a.slice(0, keepA) : (b ?? []).slice(0, keepB);
    const isA = "sequence" in part && part.sequence === "A";
    from.forEach((id, i) => {
      ids.push(id);
      types.push(part.type);
      origin.push(isA ? i : -1);
    });
  }
  const truncated = keepA < a.length || keepB < (b?.length ?? 0);
  return { ids: Int32Array.from(ids), typeIds: Int32Array.from(types), origin: Int32Array.from(origin), truncated };
}

/** How much of two lengths stays when their sum must not pass `room`: `longest_first` of the Rust library. */
function kept(a: number, b: number, room: number): [number, number] {
  if (a + b <= room) return [a, b];
  const shorter = Math.min(a, b);
  const longer = shorter > room ? shorter : Math.max(shorter, room - shorter);
  const half = Math.floor(room / 2);
  const [low, high] = shorter + longer > room ? [half, half + (room % 2)] : [shorter, longer];
  return a > b ? [high, low] : [low, high];
}

function pieces(processor: JsonObject, which: "single" | "pair", path: string): Piece[] {
  const list = processor[which];
  const special = processor["special_tokens"];
  return (Array.isArray(list) ? list.filter(isObject) : []).map((item): Piece => {
    const sequence = item["Sequence"];
    if (isObject(sequence)) return { sequence: sequence["id"] === "B" ? "B" : "A", type: Number(sequence["type_id"]) };
    const token = item["SpecialToken"];
    const name = isObject(token) ? String(token["id"]) : "";
    const entry = isObject(special) ? special[name] : undefined;
    const ids = isObject(entry) ? entry["ids"] : undefined;
    if (!isObject(token) || !Array.isArray(ids)) {
      throw new FormatError(`${path}: post_processor uses the special token "${name}" without giving its ids.`);
    }
    return { ids: ids.map(Number), type: Number(token["type_id"]) };
  });
}

function idOf(pair: unknown, path: string): number {
  const id: unknown = Array.isArray(pair) ? pair[1] : undefined;
  if (typeof id !== "number")
    throw new FormatError(`${path}: post_processor's cls or sep token is not in the vocabulary.`);
  return id;
}
