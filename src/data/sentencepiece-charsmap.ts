/**
 * SentencePiece's precompiled normalisation: a double-array trie from UTF-8 texts to what replaces them.
 *
 * Source: Rust `spm_precompiled` 0.1 (what `tokenizers`' Precompiled runs), darts-clone's unit layout. Its choices are
 * kept: a grapheme of under 6 bytes is looked up whole, longer ones by character, and the shortest match decides.
 */

import { FormatError } from "../errors.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The function that normalises texts by `blob`: the trie's size as 32 bits, the trie, texts that each end in a zero. */
export function charsmapNormalizer(blob: Uint8Array, path: string): (text: string) => string {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  const size = blob.byteLength < 4 ? -1 : view.getUint32(0, true);
  if (size <= 0 || size % 4 !== 0 || 4 + size > blob.byteLength) {
    throw new FormatError(
      `${path}: its precompiled_charsmap has ${blob.byteLength} bytes and claims a trie of ${size}. Download the file again.`,
    );
  }
  const units = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
  const texts = blob.subarray(4 + size);
  const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });

  const replacement = (part: string): string | null => {
    const start = shortestMatch(units, encoder.encode(part));
    if (start === null || start >= texts.byteLength) return null;
    const end = texts.indexOf(0, start);
    return decoder.decode(texts.subarray(start, end === -1 ? texts.byteLength : end));
  };
  return (text) => {
    let result = "";
    for (const { segment } of segmenter.segment(text)) {
      const whole = encoder.encode(segment).byteLength < 6 ? replacement(segment) : null;
      if (whole !== null) result += whole;
      else for (const character of segment) result += replacement(character) ?? character;
    }
    return result;
  };
}

/** The value of the shortest key that `key` starts with. A unit outside the trie ends the search. */
function shortestMatch(units: Uint32Array, key: Uint8Array): number | null {
  let at = offsetOf(units[0] ?? 0);
  for (const byte of key) {
    at ^= byte;
    const unit = units[at];
    if (byte === 0 || unit === undefined || (unit & 0x800000ff) >>> 0 !== byte) return null;
    at ^= offsetOf(unit);
    if ((unit >>> 8) & 1) {
      const leaf = units[at];
      return leaf === undefined ? null : leaf & 0x7fffffff;
    }
  }
  return null;
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}
