import { describe, expect, test } from "vitest";
import { z } from "zod";
import { automatonOf } from "../../src/grammar/automaton.ts";
import { createGuides } from "../../src/grammar/guide.ts";
import { jsonGrammar, schemaGrammar } from "../../src/grammar/json-schema.ts";
import type { Grammar } from "../../src/grammar/node.ts";
import { parsePattern } from "../../src/grammar/regex.ts";
import { tokenTrie } from "../../src/grammar/token-trie.ts";
import { utf8Ranges } from "../../src/grammar/utf8.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { holds, walk } from "./walk.ts";

const random = randomStream(11);
const patternGrammar = (source: string): Grammar => ({ root: parsePattern(source).node, rules: new Map() });

describe("UTF-8 ranges", () => {
  test.each([
    [0, 0x10ffff],
    [0x22, 0x7ff],
    [0x7f, 0x80],
    [0x390, 0x20ac],
    [0xd000, 0xe100],
    [0xfffe, 0x1f600],
    [0x41, 0x41],
  ])("from %i to %i: those characters and no others", (from, to) => {
    const root = { kind: "characters", ranges: [[from, to]] } as const;
    const probes = [0, 0x22, 0x41, 0x7f, 0x80, 0x390, 0x7ff, 0x800, 0x20ac, 0xd7ff, 0xe000, 0xe0ff, 0xffff, 0x10000];
    for (const code of [...probes, 0x1f600, 0x1f601, 0x10ffff, from, to, from - 1, to + 1]) {
      if (code < 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) continue;
      const text = String.fromCodePoint(code);
      expect([code, holds({ root, rules: new Map() }, text)]).toEqual([code, code >= from && code <= to]);
    }
    for (const sequence of utf8Ranges([from, to]))
      for (const [low, high] of sequence) expect(low).toBeLessThanOrEqual(high);
  });
});

describe("patterns", () => {
  const patterns = [
    "[a-c]+x?",
    "(ab|a|b){2,3}",
    "\\d{3}-\\w*",
    "[^a-z]b.",
    "a(?:b(?<name>c|d)*){0,2}e",
    "\\u0041|\\x42|[\\]\\-_^]",
    "(a*)*b|",
    "ä+|[а-я]{1,2}|😀",
    "\\s?\\S",
  ];
  test.each(patterns)("%s: the texts of RegExp, and only those", (source) => {
    const pattern = new RegExp(`^(?:${source})$`, "u");
    const grammar = patternGrammar(source);
    const { start } = automatonOf(grammar);
    for (let i = 0; i < 60; i++) {
      const text = walk(start, random, 12);
      if (text !== null) expect([text, pattern.test(text)]).toEqual([text, true]);
    }
    const letters = [..."abcdex-1_ \nABä😀жz]^"];
    for (let i = 0; i < 300; i++) {
      const text = Array.from({ length: random.integer(6) }, () => letters[random.integer(letters.length)]).join("");
      expect([text, holds(grammar, text)]).toEqual([text, pattern.test(text)]);
    }
  });

  test.each([
    ["(?=a)b", /look around at character 1/],
    ["(a", /a group without an end/],
    ["a)", /\) without its beginning/],
    ["[a", /a \[ without its \]/],
    ["a\\1", /\\1/],
    ["\\bword", /\\b/],
    ["*a", /nothing to repeat/],
    ["a{3,1}", /out of order/],
    ["a{x}", /no number of repetitions/],
    ["a^b", /\^ in the middle/],
    ["^a|b$", /alternatives beside/],
  ])("%s is refused with its place", (source, message) => {
    expect(() => parsePattern(source)).toThrow(message);
  });
});

describe("JSON schemas", () => {
  const tree = z.object({
    value: z.number().int(),
    get children() {
      return z.array(tree).max(2);
    },
  });
  const schemas: [string, z.ZodType][] = [
    ["all members", z.object({ name: z.string(), age: z.number().int().min(0).max(150), ok: z.boolean() })],
    ["some members", z.object({ a: z.string().optional(), b: z.null(), c: z.array(z.boolean()).optional() })],
    ["nested, with unions", z.object({ kind: z.union([z.literal("x"), z.object({ y: z.number() })]).nullable() })],
    [
      "enums and constants",
      z
        .array(z.enum(["red", 'a "quoted" one', "ünï"]))
        .min(1)
        .max(3),
    ],
    ["whole numbers between bounds", z.array(z.number().int().min(-105).max(23)).min(3).max(9)],
    ["decimals between bounds", z.array(z.number().min(-1).lt(12)).min(3).max(9)],
    ["positive decimals", z.array(z.number().positive().max(1)).min(2).max(9)],
    ["lengths", z.object({ s: z.string().min(2).max(4), t: z.array(z.string()).length(2) })],
    ["patterns", z.object({ p: z.string().regex(/^[a-c"\\]{1,4}\n?$/), q: z.string().regex(/[a-zA-Z0-9]/) })],
    ["dates", z.object({ d: z.iso.date(), t: z.iso.datetime(), u: z.uuid() })],
    ["maps", z.record(z.string(), z.number())],
    ["tuples", z.tuple([z.string(), z.boolean()])],
    ["schemas inside themselves", tree],
    ["members beside known ones", z.looseObject({ a: z.boolean(), ab: z.number().int().optional() })],
    ["anything", z.object({ any: z.unknown() })],
  ];
  test.each(schemas)("%s: what the grammar holds is an instance", (_, type) => {
    const schema = z.toJSONSchema(type);
    const { start } = automatonOf(schemaGrammar(schema));
    let found = 0;
    for (let i = 0; i < 40; i++) {
      const text = walk(start, random, 50);
      if (text === null) continue;
      found++;
      const result = type.safeParse(JSON.parse(text));
      if (!result.success && !/date|Invalid ISO|UUID/.test(result.error.message))
        expect([text, result.error]).toBeNull();
    }
    expect(found).toBeGreaterThan(8);
  });

  test("instances are held in usual forms, and what is none is not", () => {
    const grammar = schemaGrammar(
      z.toJSONSchema(z.object({ name: z.string(), tags: z.array(z.string()), n: z.number().optional() })),
    );
    const value = { name: 'é "x" \n 😀', tags: ["a", "b"], n: -1.5e3 };
    expect(holds(grammar, JSON.stringify(value))).toBe(true);
    expect(holds(grammar, JSON.stringify(value, null, 2))).toBe(true);
    expect(holds(grammar, '{"name": "\\u00e9", "tags": []}')).toBe(true);
    for (const wrong of [
      '{"name": "x"}',
      '{"tags": [], "name": "x"}',
      '{"name": "x", "tags": [], }',
      '{"name": "x", "tags": [1]}',
      '{"name": "x", "tags": [], "more": 1}',
      '{"name": "x", "tags": []',
      '{"name": "x\ny", "tags": []}',
      '{"name": "x", "tags": [], "n": 01}',
    ]) {
      expect([wrong, holds(grammar, wrong)]).toEqual([wrong, false]);
    }
  });

  test("any JSON object", () => {
    const value = { a: [1, 2.5, -3e-7, true, false, null, { b: {} }, []], "": "\t" };
    expect(holds(jsonGrammar(), JSON.stringify(value, null, 4))).toBe(true);
    for (const wrong of ["[1]", "1", "{'a': 1}", '{"a": 1}}']) expect(holds(jsonGrammar(), wrong)).toBe(false);
    const { start } = automatonOf(jsonGrammar());
    for (let i = 0; i < 40; i++) {
      const text = walk(start, random, 40);
      if (text !== null) expect(typeof JSON.parse(text)).toBe("object");
    }
  });

  test.each([
    [{ type: "strange" }, /the type "strange" is unknown/],
    [{ type: "object", patternProperties: {} }, /"patternProperties" is not supported/],
    [{ type: "number", multipleOf: 3 }, /"multipleOf" is not supported/],
    [{ type: "object", properties: { a: { not: {} } } }, /at \/properties\/a: "not" is not supported/],
    [{ $ref: "http://example.org/x" }, /needed is a place in the schema/],
    [{ $ref: "#/$defs/none" }, /there is no #\/\$defs\/none/],
    [{ type: "object", properties: {}, required: ["a"] }, /"a" is required, but not among/],
    [{ type: "integer", minimum: 3, maximum: 2 }, /no number lies between/],
    [{ type: "string", pattern: "a", maxLength: 3 }, /pattern beside minLength/],
    [{ allOf: [{}, {}] }, /allOf of several/],
    ["x", /an object is needed/],
  ])("%j is refused by name", (schema, message) => {
    expect(() => schemaGrammar(schema)).toThrow(message);
  });

  test("what is too large, too deep or without an end is refused, and soon", () => {
    const guides = createGuides({ size: 1, bytesOf: () => null, ends: new Set() });
    const begin = (schema: unknown) => guides.begin(() => schemaGrammar(schema), JSON.stringify(schema));
    expect(() => begin({ type: "string", maxLength: 1e7 })).toThrow(/too large/);
    expect(() => begin({ $defs: { a: { anyOf: [{ $ref: "#/$defs/a" }, {}] } }, $ref: "#/$defs/a" })).toThrow(
      /without an end/,
    );
    expect(() => begin({ type: "string", pattern: `^${"(".repeat(2000)}a${")".repeat(2000)}$` })).not.toThrow();
    let deep: unknown = { type: "null" };
    for (let i = 0; i < 20_000; i++) deep = { anyOf: [deep] };
    expect(() => guides.begin(() => schemaGrammar(deep), "deep")).toThrow(/too deep/);
  });
});

describe("tokens", () => {
  const vocabulary = ["", "{", '{"', '"', "a", 'a"', '":', ": ", "1", "12", "}", "é", "\u00c3", "b", "1", "ab"];
  const bytesOf = (token: number): Uint8Array | null =>
    token === 0 ? null : token === 12 ? Uint8Array.of(0xc3) : new TextEncoder().encode(vocabulary[token]);

  test("the tree allows what trying each token allows", () => {
    const trie = tokenTrie(vocabulary.length, bytesOf);
    const { start } = automatonOf(schemaGrammar({ type: "object", properties: { aé: { type: "integer" } } }));
    const places = [start, ...["{", '{"', '{"a', '{"aé', '{"aé"', '{"aé": 1'].map((text) => after(start, text))];
    for (const place of places) {
      const allowed = new Uint8Array(vocabulary.length);
      trie.mark(place, allowed);
      const tried = vocabulary.map((_, token) => {
        const bytes = bytesOf(token);
        let at: typeof start | null = bytes && place;
        for (const byte of bytes ?? []) at = at?.after(byte) ?? null;
        return at ? 1 : 0;
      });
      expect([...allowed]).toEqual(tried);
      expect(allowed).toContain(1);
    }
  });

  test("a guide leads to a whole text, then to the end alone", () => {
    const guides = createGuides({ size: vocabulary.length, bytesOf, ends: new Set([0]) });
    const schema = { type: "object", properties: { a: { enum: [1, 12] } }, required: ["a"] };
    const guide = guides.begin(() => schemaGrammar(schema), "one");
    const allowed = (): string[] => {
      const scores = new Float32Array(vocabulary.length);
      guide.restrict(scores);
      return [...scores].flatMap((score, token) => (score === 0 ? [vocabulary[token]!] : []));
    };
    for (const [token, before] of [
      [2, ["{", '{"']],
      [5, ["a", 'a"']],
      [7, [": "]],
      [8, ["1", "12", "1"]],
    ] as const) {
      expect(allowed()).toEqual(before);
      guide.accept(token);
    }
    expect(allowed()).toEqual(["}"]);
    expect(guide.complete).toBe(false);
    guide.accept(10);
    expect(guide.complete).toBe(true);
    expect(allowed()).toEqual([""]);
  });

  test("a vocabulary that cannot write the text is told of", () => {
    const guides = createGuides({ size: vocabulary.length, bytesOf, ends: new Set([0]) });
    const guide = guides.begin(() => ({ root: { kind: "text", text: "xyz" }, rules: new Map() }), "xyz");
    expect(() => guide.restrict(new Float32Array(vocabulary.length))).toThrow(/No token of this model/);
  });
});

function after(start: ReturnType<typeof automatonOf>["start"], text: string): typeof start {
  let at: typeof start | null = start;
  for (const byte of new TextEncoder().encode(text)) at = at?.after(byte) ?? null;
  return at!;
}
