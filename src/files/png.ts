/**
 * PNG images: what this library writes, and what it reads without any other package.
 * Source: W3C Portable Network Graphics, third edition.
 */

import { crc32, deflateSync, inflateSync } from "node:zlib";
import { FormatError } from "../errors.ts";

/** Pixels row after row, 3 bytes each: red, green, blue. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
/** Most pixels that a file may claim to have. */
const PIXEL_LIMIT = 2 ** 26;

export function isPng(bytes: Uint8Array): boolean {
  return SIGNATURE.every((byte, i) => bytes[i] === byte);
}

/** An image as a PNG file with texts in its metadata, by keyword ("parameters"). */
export function encodePng({ width, height, data }: RgbImage, texts: Readonly<Record<string, string>> = {}): Uint8Array {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, 2, 0, 0, 0], 8); // 8 bits, RGB
  const chunks = [
    chunk("IHDR", header),
    // Keyword, not compressed, no language, no translated keyword.
    ...Object.entries(texts).map(([keyword, text]) => chunk("iTXt", utf8(`${keyword}\0\0\0\0\0${text}`))),
    chunk("IDAT", deflateSync(filtered(data, width * 3, height))),
    chunk("IEND", new Uint8Array()),
  ];
  return Buffer.concat([SIGNATURE, ...chunks]);
}

/** Each row as its difference to the row above: the filter that suits smooth images best at no cost. */
function filtered(data: Uint8Array, stride: number, height: number): Uint8Array {
  const rows = new Uint8Array((stride + 1) * height);
  for (let row = 0; row < height; row++) {
    const to = row * (stride + 1);
    rows[to] = 2;
    for (let i = 0; i < stride; i++) {
      const above = row === 0 ? 0 : data[(row - 1) * stride + i]!;
      rows[to + 1 + i] = data[row * stride + i]! - above;
    }
  }
  return rows;
}

function chunk(type: string, content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(content.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(utf8(type), 4);
  bytes.set(content, 8);
  view.setUint32(content.length + 8, crc32(bytes.subarray(4, content.length + 8)));
  return bytes;
}

interface Header {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  /** 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha. */
  readonly colour: number;
}

const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

/** Reads a PNG file of any depth; transparency is laid on white. Throws FormatError naming `where`. */
export function decodePng(bytes: Uint8Array, where: string): RgbImage {
  const fail = (why: string): never => {
    throw new FormatError(`${where}: ${why}. Save the image again.`);
  };
  if (!isPng(bytes)) return fail("it is no PNG file");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let header: Header | null = null;
  let palette = new Uint8Array();
  let opacity: Uint8Array | null = null;
  const parts: Uint8Array[] = [];
  for (let at = 8; ; ) {
    if (at + 12 > bytes.length) return fail(`it ends at byte ${bytes.length}, before its last chunk`);
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (at + 12 + length > bytes.length) return fail(`its chunk ${JSON.stringify(type)} is cut short`);
    const content = bytes.subarray(at + 8, at + 8 + length);
    if (crc32(bytes.subarray(at + 4, at + 8 + length)) !== view.getUint32(at + 8 + length)) {
      return fail(`its chunk ${JSON.stringify(type)} is damaged (its checksum differs)`);
    }
    if (type === "IHDR") header = readHeader(content, fail);
    else if (type === "PLTE") palette = content.slice();
    else if (type === "tRNS") opacity = content;
    else if (type === "IDAT") parts.push(content);
    else if (type === "IEND") break;
    at += 12 + length;
  }
  if (!header) return fail("it has no header");
  const { width, height, depth, colour } = header;
  const channels = CHANNELS[colour]!;
  const stride = Math.ceil((width * channels * depth) / 8);
  let rows: Uint8Array;
  try {
    rows = inflateSync(Buffer.concat(parts), { maxOutputLength: (stride + 1) * height });
  } catch {
    return fail("its pixels cannot be decompressed");
  }
  if (rows.length !== (stride + 1) * height) return fail("it has fewer rows than its header says");
  const lines = unfiltered(rows, stride, height, Math.max(1, (channels * depth) / 8), fail);
  return toRgb(lines, stride, header, palette, opacity, fail);
}

type Fail = (why: string) => never;

function readHeader(content: Uint8Array, fail: Fail): Header {
  if (content.length !== 13) return fail("its header is damaged");
  const view = new DataView(content.buffer, content.byteOffset, 13);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth = 0, colour = 0, compression, filter, interlace] = content.subarray(8);
  if (width === 0 || height === 0 || width * height > PIXEL_LIMIT) return fail(`it claims ${width} × ${height} pixels`);
  const depths = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] }[colour];
  if (!depths?.includes(depth) || compression !== 0 || filter !== 0) {
    return fail(`its colour type ${colour} with ${depth} bits is not known`);
  }
  if (interlace !== 0) return fail("it is interlaced, which only the package sharp reads here: npm install sharp");
  return { width, height, depth, colour };
}

/** Undoes each row's filter: differences to the left, above, both, or the nearest of three. */
function unfiltered(rows: Uint8Array, stride: number, height: number, step: number, fail: Fail): Uint8Array {
  const out = new Uint8Array(stride * height);
  for (let row = 0; row < height; row++) {
    const kind = rows[row * (stride + 1)]!;
    if (kind > 4) return fail(`row ${row} has the filter ${kind}`);
    for (let i = 0; i < stride; i++) {
      const at = row * stride + i;
      const left = i < step ? 0 : out[at - step]!;
      const above = row === 0 ? 0 : out[at - stride]!;
      const corner = row === 0 || i < step ? 0 : out[at - stride - step]!;
      const guess = [0, left, above, (left + above) >> 1, kind === 4 ? nearest(left, above, corner) : 0][kind]!;
      out[at] = rows[row * (stride + 1) + 1 + i]! + guess;
    }
  }
  return out;
}

/** Paeth's predictor. */
function nearest(left: number, above: number, corner: number): number {
  const guess = left + above - corner;
  const [a, b, c] = [Math.abs(guess - left), Math.abs(guess - above), Math.abs(guess - corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? above : corner;
}

function toRgb(
  lines: Uint8Array,
  stride: number,
  { width, height, depth, colour }: Header,
  palette: Uint8Array,
  opacity: Uint8Array | null,
  fail: Fail,
): RgbImage {
  const channels = CHANNELS[colour]!;
  const most = 2 ** depth - 1;
  /** Sample `index` of a row, as it stands. */
  const raw = (row: number, index: number): number => {
    const bit = index * depth;
    const at = row * stride + (bit >> 3);
    if (depth === 16) return lines[at]! * 256 + lines[at + 1]!;
    return (lines[at]! >> (8 - depth - (bit & 7))) & most;
  };
  const clear =
    opacity && colour !== 3
      ? Array.from({ length: channels }, (_, c) => opacity[2 * c]! * 256 + opacity[2 * c + 1]!)
      : null;
  const data = new Uint8Array(width * height * 3);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const samples = Array.from({ length: channels }, (_, c) => raw(row, column * channels + c));
      const to = (row * width + column) * 3;
      let [rgb, alpha]: [readonly number[], number] = [[], 1];
      if (colour === 3) {
        const entry = samples[0]!;
        if (entry * 3 + 2 >= palette.length)
          return fail(`row ${row} uses entry ${entry} of a palette of ${palette.length / 3}`);
        rgb = Array.from(palette.subarray(entry * 3, entry * 3 + 3));
        alpha = (opacity?.[entry] ?? 255) / 255;
      } else {
        const scaled = samples.map((sample) => (sample * 255) / most);
        rgb = channels < 3 ? [scaled[0]!, scaled[0]!, scaled[0]!] : scaled.slice(0, 3);
        if (colour >= 4) alpha = scaled.at(-1)! / 255;
        else if (clear && samples.every((sample, c) => sample === clear[c])) alpha = 0;
      }
      rgb.forEach((value, c) => {
        data[to + c] = Math.round(value * alpha + 255 * (1 - alpha));
      });
    }
  }
  return { width, height, data };
}

/** Texts of a PNG file by keyword, tEXt and iTXt ones that are not compressed. */
export function pngTexts(bytes: Uint8Array): Map<string, string> {
  const texts = new Map<string, string>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const content = bytes.subarray(at + 8, at + 8 + view.getUint32(at));
    const end = content.indexOf(0);
    if (end < 0) continue;
    const keyword = new TextDecoder("latin1").decode(content.subarray(0, end));
    if (type === "tEXt") texts.set(keyword, new TextDecoder("latin1").decode(content.subarray(end + 1)));
    if (type === "iTXt" && content[end + 1] === 0) {
      const language = content.indexOf(0, end + 3);
      const translated = content.indexOf(0, language + 1);
      if (language > 0 && translated > 0)
        texts.set(keyword, new TextDecoder().decode(content.subarray(translated + 1)));
    }
  }
  return texts;
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
