/** A vocabulary as a tree of bytes: what a place in a grammar allows is found without trying every token. */

import type { Position } from "./automaton.ts";

export interface TokenTrie {
  /** Marks with 1 every token whose bytes the texts behind `from` can begin with. `allowed` [V] holds zeros. */
  mark(from: Position, allowed: Uint8Array): void;
}

/** `bytesOf` gives null for tokens that no text holds. */
export function tokenTrie(count: number, bytesOf: (token: number) => Uint8Array | null): TokenTrie {
  const tokens: { readonly token: number; readonly bytes: Uint8Array }[] = [];
  for (let token = 0; token < count; token++) {
    const bytes = bytesOf(token);
    if (bytes !== null && bytes.length > 0) tokens.push({ token, bytes });
  }
  tokens.sort((a, b) => Buffer.compare(a.bytes, b.bytes));
  // Nodes in the order of a walk: each has a byte, its depth, where its descendants end, and the token that ends there.
  const bytes: number[] = [];
  const depths: number[] = [];
  const tokenAt: number[] = [];
  let path: Uint8Array = new Uint8Array();
  for (const each of tokens) {
    let depth = 0;
    while (depth < path.length && depth < each.bytes.length && path[depth] === each.bytes[depth]) depth++;
    // Tokens of the same bytes are nodes beside each other.
    if (depth === each.bytes.length) depth--;
    for (let i = depth; i < each.bytes.length; i++) {
      bytes.push(each.bytes[i]!);
      depths.push(i);
      tokenAt.push(i === each.bytes.length - 1 ? each.token : -1);
    }
    path = each.bytes;
  }
  const ends = new Int32Array(bytes.length);
  const open: number[] = [];
  for (let node = 0; node <= bytes.length; node++) {
    const depth = node < bytes.length ? depths[node]! : 0;
    while (open.length > 0 && depths[open.at(-1)!]! >= depth) ends[open.pop()!] = node;
    if (node < bytes.length) open.push(node);
  }
  const byteAt = Uint8Array.from(bytes);
  const depthAt = Int32Array.from(depths);
  const tokenIds = Int32Array.from(tokenAt);
  return {
    mark(from, allowed) {
      const places: Position[] = [from];
      for (let node = 0; node < byteAt.length; ) {
        const depth = depthAt[node]!;
        const after = places[depth]!.after(byteAt[node]!);
        if (after === null) {
          node = ends[node]!;
          continue;
        }
        places[depth + 1] = after;
        const token = tokenIds[node]!;
        if (token >= 0) allowed[token] = 1;
        node++;
      }
    },
  };
}
