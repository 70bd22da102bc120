import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { encodePng } from "../../src/files/png.ts";
import { bucketOf, bucketSizes, checkSide } from "../../src/image-train/buckets.ts";
import { drawnCaption, withTrigger } from "../../src/image-train/captions.ts";
import { readImageFolder } from "../../src/image-train/image-folder.ts";
import { fittedImage, mirrored } from "../../src/image-train/latents.ts";
import { randomStream } from "../../src/tensor/random.ts";

const folder = mkdtempSync(join(tmpdir(), "lowrank-images-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function picture(path: string, width = 4, height = 4): void {
  mkdirSync(join(folder, path, ".."), { recursive: true });
  const data = Uint8Array.from({ length: 3 * width * height }, (_, i) => (37 * i) % 256);
  writeFileSync(join(folder, path), encodePng({ width, height, data }));
}

test("captions come from files beside, from metadata, and from neither", () => {
  picture("plain/a.png");
  writeFileSync(join(folder, "plain/a.txt"), "a cat,\n sitting\n");
  picture("plain/b.png");
  writeFileSync(join(folder, "plain/b.caption"), "a dog");
  picture("plain/10_zig/c.png");
  picture("plain/d.png");
  writeFileSync(join(folder, "plain/metadata.jsonl"), '{"file_name": "d.png", "text": "a bird"}\n');
  writeFileSync(join(folder, "plain/README.txt"), "no caption");
  const items = readImageFolder(join(folder, "plain"));
  expect(items.map(({ caption, repeats, label }) => [caption, repeats, label])).toEqual([
    ["", 10, "zig"],
    ["a cat, sitting", 1, null],
    ["a dog", 1, null],
    ["a bird", 1, null],
  ]);
});

test("captions without images, and folders without any, are errors that name them", () => {
  picture("wrong/a.png");
  writeFileSync(join(folder, "wrong/b.txt"), "lost");
  writeFileSync(join(folder, "wrong/metadata.jsonl"), '{"file_name": "c.png", "text": "x"}\n{"text": "y"}\n{');
  expect(() => readImageFolder(join(folder, "wrong"))).toThrow(
    /metadata\.jsonl:1: a caption without an image \(c\.png\)\n.*metadata\.jsonl:2: file_name is missing\n.*metadata\.jsonl:3: .*\n.*b\.txt: a caption without an image/,
  );
  mkdirSync(join(folder, "empty"));
  expect(() => readImageFolder(join(folder, "empty"))).toThrow(/no images/);
  expect(() => readImageFolder(join(folder, "absent"))).toThrow(/no such file or folder/);
});

test("a corrupt image is named", async () => {
  writeFileSync(join(folder, "broken.png"), Buffer.concat([Buffer.from("89504e470d0a1a0a", "hex"), Buffer.alloc(9)]));
  const options = { sizes: [[8, 8]], crop: "center", seed: 0 } as const;
  await expect(fittedImage(join(folder, "broken.png"), options)).rejects.toThrow(/broken\.png: /);
});

test("an image fills its bucket: resized by the larger factor, then cut", async () => {
  picture("wide.png", 40, 20);
  const fitted = await fittedImage(join(folder, "wide.png"), { sizes: [[10, 10]], crop: "random", seed: 1 });
  const image = fitted.picture;
  const [, , top, left] = fitted.sizes;
  expect([top, left + fitted.mirroredSizes[3]]).toEqual([0, 10]);
  expect(fitted.sizes).toEqual([20, 40, top, left, 10, 10]);
  expect([image.width, image.height]).toEqual([10, 10]);
  const twice = mirrored(mirrored(image));
  expect(twice).toEqual(image);
  expect(mirrored(image).data.slice(0, 3)).toEqual(image.data.slice(27, 30));
});

test("buckets have at most the square's area and sides in steps; each image goes to the nearest shape", () => {
  const sizes = bucketSizes(512, 64);
  for (const [width, height] of sizes) {
    expect(width * height).toBeLessThanOrEqual(512 * 512);
    expect([width % 64, height % 64]).toEqual([0, 0]);
  }
  expect(sizes).toContainEqual([512, 512]);
  expect(sizes).toContainEqual([640, 384]);
  expect(bucketOf([1600, 1000], sizes)).toEqual([640, 384]);
  expect(bucketOf([300, 300], sizes)).toEqual([512, 512]);
  expect(() => checkSide(510, 8, "--resolution")).toThrow(
    /--resolution 510: the model needs a multiple of 8. Use 504 or 512/,
  );
});

test("triggers, dropped captions and shuffled tags", () => {
  expect(withTrigger("a Zig cat", "zig cat")).toBe("a Zig cat");
  expect(withTrigger("", "zig")).toBe("zig");
  const options = { trigger: "zig", captionDropout: 0, shuffleTags: true, keepTokens: 1 };
  const drawn = Array.from({ length: 40 }, (_, i) => drawnCaption("cat, a, b, c", options, randomStream(i)));
  expect(drawn.every((caption) => caption.startsWith("zig, cat, "))).toBe(true);
  expect(new Set(drawn).size).toBe(6);
  expect(drawnCaption("cat, a, b, c", options, randomStream(3))).toBe(drawn[3]);
  const half = { ...options, captionDropout: 0.5 };
  const empty = Array.from({ length: 400 }, (_, i) => drawnCaption("x", half, randomStream(i))).filter(
    (each) => each === "",
  );
  expect(Math.abs(empty.length - 200)).toBeLessThan(40);
});
