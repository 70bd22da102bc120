/**
 * Seeded random numbers. Counter-based: a value depends only on (seed, stream, index), so that a resumed run draws
 * what the uninterrupted one would have drawn, in any order.
 */

/** A 32-bit hash of two words with full avalanche (the finaliser of MurmurHash3, applied twice). */
export function hash2(a: number, b: number): number {
  return mix(Math.imul(mix(a >>> 0) ^ (b >>> 0), 0x9e3779b1) + 0x7f4a7c15);
}

/** FNV-1a of a name, for deriving a stream from a module's name. */
export function hashText(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

export interface Random {
  /** Uniform in [0, 1), 53 bits. */
  uniform(): number;
  /** Standard normal (Box and Muller). */
  normal(): number;
  /** Uniform integer in [0, limit). */
  integer(limit: number): number;
}

/** A stream of numbers fixed by a seed and any further words. */
export function randomStream(seed: number, ...words: readonly number[]): Random {
  const key = words.reduce((k, word) => hash2(k, word), hash2(seed >>> 0, Math.floor(seed / 2 ** 32)));
  let counter = 0;
  const word = (): number => hash2(key, counter++);
  const uniform = (): number => ((word() >>> 5) * 67108864 + (word() >>> 6)) / 9007199254740992;
  return {
    uniform,
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    integer: (limit) => Math.floor(uniform() * limit),
  };
}

/** The numbers 0 to count - 1 in a random order (Fisher and Yates). */
export function permutation(count: number, random: Random): Int32Array {
  const order = Int32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = random.integer(i + 1);
    const held = order[i]!;
    order[i] = order[j]!;
    order[j] = held;
  }
  return order;
}

function mix(word: number): number {
  let h = word | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
