/** Image files, resizing, tokens and prompts, against Pillow and transformers: make_images.py made their numbers. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { loadClipTokenizer } from "../../src/data/clip-tokenizer.ts";
import { coverImage, resizeImage } from "../../src/data/resize-image.ts";
import { chooseAdapters } from "../../src/diffusion/choose-adapters.ts";
import { evenWeights, parseBlocks, parsePrompt, unetWeight } from "../../src/diffusion/prompt.ts";
import { FormatError, UsageError } from "../../src/errors.ts";
import { decodePng, encodePng, pngTexts } from "../../src/files/png.ts";

interface Cases {
  readonly images: Readonly<Record<string, { png: string; width: number; height: number; pixels: string }>>;
  readonly resized: readonly { from: [number, number]; to: [number, number]; pixels: string; resized: string }[];
  readonly texts: readonly { text: string; ids: readonly number[] }[];
}

const at = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const { images, resized, texts } = JSON.parse(readFileSync(at("images.json"), "utf8")) as Cases;
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64"));

describe("PNG", () => {
  test.each(Object.entries(images))("%s: pixels are Pillow's", (name, { png, width, height, pixels }) => {
    const image = decodePng(bytes(png), name);
    expect([image.width, image.height]).toEqual([width, height]);
    const wanted = bytes(pixels);
    image.data.forEach((value, i) => {
      expect(Math.abs(value - wanted[i]!), `byte ${i}`).toBeLessThanOrEqual(1); // Pillow blends in integers
    });
  });

  test("what is written is read again, with its texts", () => {
    const image = { width: 5, height: 3, data: Uint8Array.from({ length: 45 }, (_, i) => (i * 37) % 256) };
    const file = encodePng(image, { parameters: "ein Häuschen\nSteps: 3", lowrank: "{}" });
    expect(decodePng(file, "x.png")).toEqual(image);
    expect([...pngTexts(file)]).toEqual([
      ["parameters", "ein Häuschen\nSteps: 3"],
      ["lowrank", "{}"],
    ]);
  });

  test("every cut and every changed byte is refused or read, never crashed on", () => {
    const file = encodePng({ width: 3, height: 2, data: new Uint8Array(18) });
    for (let length = 0; length < file.length; length++) {
      expect(() => decodePng(file.slice(0, length), "cut.png")).toThrow(FormatError);
    }
    for (let i = 8; i < file.length; i++) {
      const changed = file.slice();
      changed[i]! ^= 0x41;
      expect(() => decodePng(changed, "changed.png"), `byte ${i}`).toThrow(FormatError);
    }
  });
});

test.each(resized)("resizing $from to $to gives Pillow's pixels within 1", ({ from, to, pixels, resized: wanted }) => {
  const image = resizeImage({ width: from[0], height: from[1], data: bytes(pixels) }, to[0], to[1]);
  bytes(wanted).forEach((value, i) => {
    expect(Math.abs(image.data[i]! - value)).toBeLessThanOrEqual(1);
  });
});

test("an image that covers another shape keeps its middle", () => {
  const data = Uint8Array.from({ length: 6 * 2 * 3 }, (_, i) => Math.floor(i / 3) % 6);
  expect([...coverImage({ width: 6, height: 2, data }, 2, 2).data]).toEqual([2, 2, 2, 3, 3, 3, 2, 2, 2, 3, 3, 3]);
});

test.each(texts)("tokens of $text are transformers'", ({ text, ids }) => {
  const tokenizer = loadClipTokenizer(at("pipelines/sd1/tokenizer"), 77);
  expect([...tokenizer.encode(text)]).toEqual(ids);
  expect(tokenizer.count(text) > 77).toBe(text.length > 300);
});

test("the second tokenizer of XL pads with another token", () => {
  const ids = loadClipTokenizer(at("pipelines/xl/tokenizer_2"), 77).encode("tree");
  expect(ids.at(-1)).toBe(0);
});

describe("prompts", () => {
  test("tags leave the text, their weights are read", () => {
    const { text, tags } = parsePrompt("a fox <lora:paper cut:0.8> on <lora:b> a hill <lora:c:0.5:0.25:mid=0:out=2>");
    expect(text).toBe("a fox on a hill");
    expect(tags).toEqual([
      { name: "paper cut", weights: evenWeights(0.8) },
      { name: "b", weights: evenWeights(1) },
      { name: "c", weights: { text: 0.5, unet: 0.25, blocks: { mid: 0, up: 2 } } },
    ]);
    expect(parsePrompt("a <b> c:d  e")).toEqual({ text: "a <b> c:d  e", tags: [] });
    for (const wrong of ["<lora:a:x>", "<lora:a:1:2:3>", "<lora:a:te=>", "<lora:a:side=1>"]) {
      expect(() => parsePrompt(wrong), wrong).toThrow(UsageError);
    }
  });

  test("the longest part that fits a module counts", () => {
    const weights = { unet: 0.5, text: 1, blocks: parseBlocks("in=0.5,up.1=0,mid=2", "--block-weights") };
    const modules = [
      "down_blocks.0.resnets.0.conv1",
      "mid_block.attentions.0.proj_in",
      "up_blocks.1.x",
      "up_blocks.0.x",
      "conv_in",
    ];
    expect(modules.map((module) => unetWeight(weights, module))).toEqual([0.25, 1, 0, 0.5, 0.5]);
    expect(() => parseBlocks("left=1", "--block-weights")).toThrow(UsageError);
  });

  test("a tag's weight counts before the one beside the name; a tag may name a file of its own", () => {
    const named = [
      { name: "a", path: "a.safetensors", weight: 0.5, blocks: { mid: 0 } },
      { name: "b", path: "b.safetensors", weight: 0.4, blocks: {} },
    ];
    const { tags } = parsePrompt("<lora:a:0.9:up=1><lora:c>");
    expect(chooseAdapters(named, tags, (name) => `dir/${name}.safetensors`)).toEqual([
      { name: "a", path: "a.safetensors", weights: { unet: 0.9, text: 0.9, blocks: { mid: 0, up: 1 } } },
      { name: "b", path: "b.safetensors", weights: evenWeights(0.4) },
      { name: "c", path: "dir/c.safetensors", weights: evenWeights(1) },
    ]);
    expect(() => chooseAdapters(named, tags, () => null)).toThrow("<lora:c> names no adapter. There are a, b.");
  });
});
