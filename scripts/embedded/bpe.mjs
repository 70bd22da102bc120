/**
 * A byte-level BPE tokenizer in GPT-2's form: training, encoding, and the
 * Hugging Face tokenizer.json that describes it.
 */

/** GPT-2's split of text into words before any merge. */
const WORDS = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

export const END_OF_TEXT = "<|endoftext|>";

/** GPT-2's printable stand-in for each byte: visible characters stand for themselves. */
function byteCharacters() {
  const characters = new Array(256);
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const visible = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
    characters[byte] = String.fromCharCode(visible ? byte : next++);
  }
  return characters;
}

const BYTE_CHARACTERS = byteCharacters();

/** A word of text as the string of its bytes' stand-ins. */
function byteString(word) {
  let out = "";
  for (const byte of Buffer.from(word, "utf8")) out += BYTE_CHARACTERS[byte];
  return out;
}

/** How often each pre-tokenised word occurs. The merges depend on nothing else. */
function countWords(texts) {
  const counts = new Map();
  for (const text of texts) {
    for (const [word] of text.matchAll(WORDS)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return counts;
}

/**
 * Learns merges until the vocabulary has `size` entries: the special tokens (ids
 * from 0), the 256 bytes, then one entry a merge. The most frequent pair is
 * merged first, the one with the smaller ids on a tie. Pair counts are kept up
 * to date by touching only the words that hold the merged pair.
 */
export function trainBpe(texts, size, specials = [END_OF_TEXT]) {
  const tokens = [...specials, ...[...BYTE_CHARACTERS].sort((a, b) => a.charCodeAt(0) - b.charCodeAt(0))];
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const words = [];
  for (const [word, count] of countWords(texts)) {
    words.push({ ids: [...byteString(word)].map((character) => idOf.get(character)), count });
  }

  const pairCounts = new Map();
  const pairWords = new Map();
  const key = (left, right) => left * size + right;
  const change = (pair, amount, word) => {
    pairCounts.set(pair, (pairCounts.get(pair) ?? 0) + amount);
    if (amount > 0) {
      const holders = pairWords.get(pair);
      if (holders === undefined) pairWords.set(pair, new Set([word]));
      else holders.add(word);
    }
  };
  for (const word of words) {
    for (let i = 0; i + 1 < word.ids.length; i++) change(key(word.ids[i], word.ids[i + 1]), word.count, word);
  }

  const merges = [];
  while (tokens.length < size) {
    let best = -1;
    let bestCount = 0;
    for (const [pair, count] of pairCounts) {
      if (count > bestCount || (count === bestCount && pair < best)) {
        best = pair;
        bestCount = count;
      }
    }
    if (bestCount < 2) throw new Error(`the text is too small for a vocabulary of ${size}`);
    const left = Math.floor(best / size);
    const right = best % size;
    const merged = tokens.length;
    tokens.push(tokens[left] + tokens[right]);
    merges.push([tokens[left], tokens[right]]);
    for (const word of pairWords.get(best)) {
      const { ids, count } = word;
      for (let i = 0; i + 1 < ids.length; i++) change(key(ids[i], ids[i + 1]), -count, word);
      const joined = [];
      for (let i = 0; i < ids.length; i++) {
        if (i + 1 < ids.length && ids[i] === left && ids[i + 1] === right) {
          joined.push(merged);
          i++;
        } else joined.push(ids[i]);
      }
      word.ids = joined;
      for (let i = 0; i + 1 < joined.length; i++) change(key(joined[i], joined[i + 1]), count, word);
    }
    pairCounts.delete(best);
    pairWords.delete(best);
  }
  return { tokens, merges };
}

/** An encoder for a trained vocabulary; each distinct word is split once and remembered. */
export function createEncoder({ tokens, merges }) {
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const rankOf = new Map(merges.map(([left, right], rank) => [`${left} ${right}`, rank]));
  const known = new Map();

  const encodeWord = (word) => {
    const parts = [...byteString(word)];
    for (;;) {
      let best = -1;
      let bestRank = Number.POSITIVE_INFINITY;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = rankOf.get(`${parts[i]} ${parts[i + 1]}`);
        if (rank !== undefined && rank < bestRank) {
          best = i;
          bestRank = rank;
        }
      }
      if (best < 0) return parts.map((part) => idOf.get(part));
      parts.splice(best, 2, parts[best] + parts[best + 1]);
    }
  };

  return (text) => {
    const ids = [];
    for (const [word] of text.matchAll(WORDS)) {
      let split = known.get(word);
      if (split === undefined) {
        split = encodeWord(word);
        known.set(word, split);
      }
      ids.push(...split);
    }
    return ids;
  };
}

/** The tokenizer.json of a trained vocabulary. */
export function tokenizerJson({ tokens, merges }) {
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [
      {
        id: 0,
        content: END_OF_TEXT,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      },
    ],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: { ...byteLevel, trim_offsets: false },
    decoder: byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
}
