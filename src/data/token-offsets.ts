/** Where each token of a text stands in it, which `@huggingface/tokenizers` does not tell. */

/** Characters of GPT-2's byte alphabet and the bytes that they stand for. */
const BYTE_OF: ReadonlyMap<string, number> = byteAlphabet();

export interface TokenTexts {
  /** How the vocabulary writes a token; null for unknown ids. */
  tokenOf(id: number): string | null;
  /** Tokens that stand in texts as they are written: added and special ones. */
  isAdded(id: number): boolean;
  readonly alphabet: "bytes" | "sentence-piece" | "other";
}

export interface Offsets {
  /** First byte of each token in the text as UTF-8, [T]. */
  readonly starts: Int32Array;
  /** Behind the last byte, [T]. */
  readonly ends: Int32Array;
}

/**
 * Aligns the tokens with the text's UTF-8 bytes. Every byte is compared, so that the result is right or null: null for
 * tokenizers that change the text (lower case, normal forms) and for unknown tokens. White space that an added token
 * swallows and the space that SentencePiece puts before a text are allowed for.
 */
export function tokenOffsets(text: string, ids: ArrayLike<number>, texts: TokenTexts): Offsets | null {
  const bytes = new TextEncoder().encode(text);
  const starts = new Int32Array(ids.length);
  const ends = new Int32Array(ids.length);
  let at = 0;
  for (let i = 0; i < ids.length; i++) {
    const piece = bytesOf(ids[i]!, texts);
    if (piece === null) return null;
    let from = at;
    let length = piece.length;
    if (!matches(bytes, from, piece, 0)) {
      if (piece[0] === SPACE && matches(bytes, from, piece, 1)) length--;
      else {
        while (isSpace(bytes[from])) from++; // swallowed by an added token before or behind it
        if (!matches(bytes, from, piece, 0)) return null;
      }
    }
    starts[i] = from;
    at = from + length;
    ends[i] = at;
  }
  while (isSpace(bytes[at])) at++;
  return at === bytes.length ? { starts, ends } : null;
}

const SPACE = 0x20;

function isSpace(byte: number | undefined): boolean {
  return byte === SPACE || (byte !== undefined && byte >= 0x09 && byte <= 0x0d);
}

function matches(bytes: Uint8Array, at: number, piece: Uint8Array, skip: number): boolean {
  for (let i = skip; i < piece.length; i++) if (bytes[at + i - skip] !== piece[i]) return false;
  return true;
}

/** A token's bytes in a text; null for unknown ids. */
export function bytesOf(id: number, texts: TokenTexts): Uint8Array | null {
  const token = texts.tokenOf(id);
  if (token === null) return null;
  const encoder = new TextEncoder();
  if (texts.isAdded(id) || texts.alphabet === "other") return encoder.encode(token);
  if (texts.alphabet === "sentence-piece") {
    const byte = /^<0x([0-9A-F]{2})>$/.exec(token);
    return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : encoder.encode(token.replaceAll("\u2581", " "));
  }
  const bytes = [...token].map((letter) => BYTE_OF.get(letter));
  return bytes.includes(undefined) ? null : Uint8Array.from(bytes as number[]);
}

/** GPT-2's `bytes_to_unicode`: printable bytes stand for themselves, the others for characters from U+0100 on. */
function byteAlphabet(): Map<string, number> {
  const printable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  const alphabet = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) alphabet.set(String.fromCharCode(printable(byte) ? byte : next++), byte);
  return alphabet;
}
