import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { charsmapNormalizer } from "../../src/data/sentencepiece-charsmap.ts";
import { readSentencePieceModel } from "../../src/data/sentencepiece-model.ts";
import { loadTokenizer } from "../../src/data/tokenizer.ts";

interface Expected {
  texts: { text: string; ids: number[]; plain: number[]; decoded: string; shown: string }[];
  pairs: { a: string; b: string; ids: number[]; types: number[] }[];
  end: number | null;
  begin: number | null;
  pad: number | null;
  mask: number | null;
  size: number;
}

const fixtures = new URL("./fixtures/sentencepiece/", import.meta.url).pathname;
const expected = JSON.parse(readFileSync(join(fixtures, "expected.json"), "utf8")) as Record<string, Expected>;

describe.each(Object.keys(expected))("%s", (name) => {
  const python = expected[name]!;
  const tokenizer = loadTokenizer(join(fixtures, name))!;

  test("gives the ids that transformers gives from the same files", () => {
    for (const { text, ids, plain } of python.texts) {
      expect.soft([text, ...tokenizer.encode(text, { special: true })]).toEqual([text, ...ids]);
      expect.soft([text, ...tokenizer.encode(text, { special: false })]).toEqual([text, ...plain]);
    }
    for (const { a, b, ids, types } of python.pairs) {
      const pair = tokenizer.encodePair(a, b);
      expect.soft([[...pair.ids], [...pair.typeIds]]).toEqual([ids, types]);
    }
  });

  test("writes ids as text", () => {
    // The package's byte decoder swallows U+FEFF.
    for (const { ids, decoded, shown } of python.texts.filter((row) => !row.decoded.includes("\ufeff"))) {
      expect.soft(tokenizer.decode(ids, { skipSpecial: false })).toBe(decoded);
      expect.soft(tokenizer.decode(ids, { skipSpecial: true })).toBe(shown);
    }
  });

  test("knows the special tokens", () => {
    const { beginId, endId, padId, maskId, vocabularySize } = tokenizer;
    expect({ beginId, endId, padId, maskId, vocabularySize }).toEqual({
      beginId: python.begin,
      endId: python.end,
      padId: python.pad,
      maskId: python.mask,
      vocabularySize: python.size,
    });
  });
});

describe("a broken model is refused by what is wrong", () => {
  const temporary = mkdtempSync(join(tmpdir(), "lowrank-sentencepiece-"));
  afterAll(() => rmSync(temporary, { recursive: true, force: true }));
  const good = readFileSync(join(fixtures, "llama/tokenizer.model"));
  const piece = (text: string, ...more: number[]): number[] => {
    const bytes = [...Buffer.from(text)];
    const body = [0x0a, bytes.length, ...bytes, ...more];
    return [0x0a, body.length, ...body];
  };
  const trainer = (...fields: number[]): number[] => [0x12, fields.length, ...fields];
  const score = [0x15, 0, 0, 0x80, 0x7f];
  const long = Buffer.concat([Buffer.from([0x0a, 0xdb, 0x04, 0x0a, 0xd8, 0x04]), Buffer.alloc(600, 97)]);

  test.each<[string, Uint8Array | number[], RegExp]>([
    ["no pieces", [], /it has no pieces/],
    ["a cut file", good.subarray(0, 5000), /passes its end|ends within a number/],
    ["an endless number", Array<number>(20).fill(0xff), /a number of more than 10 bytes/],
    ["a group", [0x0b, 0x0c], /wire type 3 at byte 1/],
    [
      "a length beyond the file",
      [0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f],
      /a field of 34359738367 bytes at byte 6 passes its end/,
    ],
    ["field 0", [0x02, 0x00], /it has a field 0/],
    ["a piece that is a number", [0x08, 0x01], /piece 0 is no message/],
    ["an empty piece", piece(""), /piece 0 has 0 bytes/],
    ["a long piece", long, /piece 0 has 600 bytes; 1 to 512/],
    ["a piece that is no UTF-8", [0x0a, 3, 0x0a, 1, 0xff], /field 1 is no UTF-8/],
    ["the same piece twice", [...piece("a"), ...piece("a")], /piece 1, "a", stands twice/],
    ["an unknown kind", piece("a", 0x18, 9), /piece 0 is of the kind 9; 1 to 6 exist/],
    ["an infinite score", piece("a", ...score), /the score of piece 0 is Infinity/],
    ["a score of another type", piece("a", 0x10, 1), /field 2 has another wire type than a float has/],
    ["a word model", [...piece("a"), ...trainer(0x18, 3)], /its model_type is 3; 1 \(unigram\) and 2 \(BPE\) are read/],
    ["suffixed spaces", [...piece("a"), ...trainer(0xc0, 1, 1)], /treat_whitespace_as_suffix is set/],
    ["an unknown piece that is not there", [...piece("a"), ...trainer(0xc0, 2, 7)], /its unk_id is 7 of 1 pieces/],
  ])("%s", (_, bytes, message) => {
    const path = join(temporary, "tokenizer.model");
    writeFileSync(path, Uint8Array.from(bytes));
    expect(() => readSentencePieceModel(path)).toThrow(message);
    expect(() => readSentencePieceModel(path)).toThrow(path);
  });

  test("a unigram model with byte_fallback, BPE for a class of unigram models, a class of other rules", () => {
    const path = join(temporary, "tokenizer.model");
    writeFileSync(path, Uint8Array.from([...piece("a"), ...trainer(0x98, 2, 1)]));
    expect(() => loadTokenizer(temporary)).toThrow(/a unigram SentencePiece model with byte_fallback/);
    writeFileSync(path, good);
    writeFileSync(join(temporary, "config.json"), JSON.stringify({ model_type: "deberta-v2" }));
    expect(() => loadTokenizer(temporary)).toThrow(/of the kind BPE, and this tokenizer class needs unigram/);
    writeFileSync(join(temporary, "config.json"), JSON.stringify({ model_type: "t5" }));
    expect(() => loadTokenizer(temporary)).toThrow(
      /a SentencePiece model for t5, whose rules are not known; known are/,
    );
  });

  test("a charsmap that claims more than it has", () => {
    expect(() => charsmapNormalizer(Uint8Array.of(8, 0, 0, 0, 1), "x.model")).toThrow(/x\.model: .*5 bytes.*trie of 8/);
    // Units that point outside the trie match nothing.
    const wild = Uint8Array.of(4, 0, 0, 0, 255, 255, 255, 255, 97, 0);
    expect(charsmapNormalizer(wild, "x.model")("héllo")).toBe("héllo");
  });
});
