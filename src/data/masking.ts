/**
 * Targets of masked language models, drawn anew for every step (Devlin et al. 2018, section 3.1; Liu et al. 2019 for the
 * new draw). The shares are those of transformers' DataCollatorForLanguageModeling.
 */

import { DataError } from "../errors.ts";
import { hash2, randomStream } from "../tensor/random.ts";
import { type Example, IGNORED } from "./example.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface Masking {
  /** Share of the tokens that become targets. */
  readonly probability: number;
  readonly maskId: number;
  /** Tokens that are never targets. */
  readonly specialIds: ReadonlySet<number>;
  /** Random tokens are drawn from so many. */
  readonly vocabularySize: number;
}

/** BERT's share of targets, and the default everywhere. */
export const MLM_PROBABILITY = 0.15;

/** Of the targets, those that the mask hides and those that a random token does; the others stay as they are. */
const HIDDEN = 0.8;
const RANDOM = 0.1;

/** What held-out rows are masked by: always the same, so that losses of one file compare. */
const HELD_OUT = 0x6d61736b;

/** Masking with this tokenizer. Throws DataError where it has no mask token. */
export function maskingWith(tokenizer: Tokenizer | null, probability: number, folder: string): Masking {
  if (tokenizer === null || tokenizer.maskId === null) {
    throw new DataError(
      `${folder}: the tokenizer has no mask token, and rows of text need one for masked-lm. ` +
        `Name it as mask_token in tokenizer_config.json, or give rows of {"input_ids", "labels"}.`,
    );
  }
  const { maskId, specialIds, vocabularySize } = tokenizer;
  return { probability, maskId, specialIds, vocabularySize };
}

/**
 * The row with its targets: each ordinary token with the given probability, and where none was drawn the one that came
 * closest, so that every row counts. `draw` fixes everything that is random.
 */
export function masked(
  example: Example,
  { probability, maskId, specialIds, vocabularySize }: Masking,
  draw: number,
): Example {
  const random = randomStream(draw);
  const ids = example.ids.slice();
  const labels = ids.slice().fill(IGNORED);
  let nearest = { at: -1, drawn: Number.POSITIVE_INFINITY };
  const hide = (at: number): void => {
    labels[at] = ids[at]!;
    const how = random.uniform();
    if (how < HIDDEN) ids[at] = maskId;
    else if (how < HIDDEN + RANDOM) ids[at] = random.integer(vocabularySize);
  };
  let targets = 0;
  for (let at = 0; at < ids.length; at++) {
    if (specialIds.has(ids[at]!)) continue;
    const drawn = random.uniform();
    if (drawn < probability) {
      hide(at);
      targets++;
    } else if (drawn < nearest.drawn) nearest = { at, drawn };
  }
  if (targets === 0 && nearest.at >= 0) hide(nearest.at);
  return { ...example, ids, labels };
}

/** The rows of a step; `draw` is the step's own. */
export function maskedStep(rows: readonly Example[], masking: Masking, draw: number): Example[] {
  return rows.map((row, i) => masked(row, masking, hash2(draw, i)));
}

/** Held-out rows, each masked by its place in the file alone. */
export function maskedHeldOut(rows: readonly Example[], masking: Masking): Example[] {
  return rows.map((row) => masked(row, masking, hash2(HELD_OUT, row.line)));
}
