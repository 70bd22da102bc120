/** Every metric of generated texts against references. */

import { DataError } from "../../errors.ts";
import { bleu } from "./bleu.ts";
import { cider } from "./cider.ts";
import { meteor } from "./meteor.ts";
import { nist } from "./nist.ts";
import { rougeL } from "./rouge.ts";
import { metricTokens } from "./tokens.ts";

export interface TextScores {
  /** 0 to 100. */
  readonly bleu: number;
  readonly nist: number;
  /** 0 to 1: exact and stem matches. */
  readonly meteor: number;
  /** 0 to 1. */
  readonly rougeL: number;
  readonly cider: number;
  readonly texts: number;
}

/** Scores of texts, each with one reference or more. Throws DataError for one without. */
export function scoreTexts(
  texts: readonly { readonly text: string; readonly references: readonly string[] }[],
): TextScores {
  if (texts.length === 0) throw new DataError("There are no texts to score.");
  const without = texts.findIndex(({ references }) => references.length === 0);
  if (without >= 0) throw new DataError(`Text ${without + 1} has no reference. Each text needs one or more.`);
  const segments = texts.map(({ text, references }) => ({
    hypothesis: metricTokens(text),
    references: references.map(metricTokens),
  }));
  return {
    bleu: bleu(segments),
    nist: nist(segments),
    meteor: meteor(segments),
    rougeL: rougeL(segments),
    cider: cider(segments),
    texts: texts.length,
  };
}
