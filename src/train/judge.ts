/** From what model and reference say of a step's answers to its loss, its metrics, and a weight for each target. */

import { type Example, IGNORED } from "../data/example.ts";
import type { TrainOptions } from "./options.ts";
import { type Answer, logOdds, logSigmoid, type PreferenceLoss, pairLoss, verdictLoss } from "./preference.ts";

export interface JudgedRow {
  readonly row: Example;
  /** log p of each target of each answer, as `answersOf` gives them. */
  readonly logps: readonly Float64Array[];
  /** Σ log p of each answer by the reference. */
  readonly references: readonly number[];
}

/** A row's answers as examples: the better one, then the worse one. ORPO also learns the better one's prompt. */
export function answersOf(row: Example, kind?: PreferenceLoss): Example[] {
  const { rejected, line } = row;
  const first = kind === "orpo" ? { ...row, labels: row.ids } : row;
  return rejected ? [first, { ...rejected, line }] : [first];
}

export interface Judgement {
  /** Takes the rows of a pass in; gives the weight of each of their targets in the cross-entropy to descend. */
  add(rows: readonly JudgedRow[]): number[];
  result(): { readonly loss: number; readonly metrics: Record<string, number> };
}

/** The loss over `rows` together, which come in passes. */
export function judge(kind: PreferenceLoss, options: TrainOptions, rows: readonly Example[], drift: number): Judgement {
  const share = 1 / rows.length;
  const means = new Map<string, { sum: number; count: number }>();
  const note = (name: string, value: number): void => {
    const { sum, count } = means.get(name) ?? { sum: 0, count: 0 };
    means.set(name, { sum: sum + value, count: count + 1 });
  };
  let loss = 0;
  let nll = 0;
  // ORPO's cross-entropy is a mean over all tokens of the better answers and their prompts.
  const nllShare = 1 / rows.reduce((sum, { ids }) => sum + ids.length - 1, 0);

  const pair = ({ row, logps, references }: JudgedRow): number[] => {
    // ORPO's scores of the better answer begin with its prompt's.
    const behind = kind === "orpo" ? logps[0]!.length - answerLength(row) : 0;
    const [chosen, rejected] = [logps[0]!.subarray(behind), logps[1]!].map((each, i) => answer(each, references[i]!));
    const judged = pairLoss(kind as Exclude<PreferenceLoss, "kto">, chosen!, rejected!, options);
    loss += share * judged.loss;
    const reward = ({ logp, reference, tokens }: Answer): number =>
      options.beta * (kind === "orpo" ? logp / tokens : logp - reference);
    const [better, worse] = [reward(chosen!), reward(rejected!)];
    note("rewards/chosen", better);
    note("rewards/rejected", worse);
    note("rewards/margins", better - worse);
    note("rewards/accuracies", better > worse ? 1 : 0);
    note("logps/chosen", kind === "orpo" ? chosen!.logp / chosen!.tokens : chosen!.logp);
    note("logps/rejected", kind === "orpo" ? rejected!.logp / rejected!.tokens : rejected!.logp);
    if (kind === "orpo") {
      const odds = logOdds(chosen!.logp / chosen!.tokens) - logOdds(rejected!.logp / rejected!.tokens);
      note("log_odds_chosen", odds);
      note("log_odds_ratio", logSigmoid(odds));
      nll -= nllShare * logps[0]!.reduce((sum, value) => sum + value, 0);
    }
    const base = kind === "orpo" ? nllShare : 0;
    return [
      ...Array.from(logps[0]!, (_, i) => base - (i < behind ? 0 : share * judged.chosen)),
      ...Array.from(logps[1]!, () => -share * judged.rejected),
    ];
  };

  const single = ({ row, logps, references }: JudgedRow): number[] => {
    const said = answer(logps[0]!, references[0]!);
    const desirable = row.desirable === true;
    const judged = verdictLoss(said, desirable, drift, options);
    loss += share * judged.loss;
    const side = desirable ? "chosen" : "rejected";
    note(`rewards/${side}`, options.beta * (said.logp - said.reference));
    note(`logps/${side}`, said.logp);
    return Array.from(logps[0]!, () => -share * judged.slope);
  };

  return {
    add: (judged) => judged.flatMap(kind === "kto" ? single : pair),
    result: () => {
      const metrics = Object.fromEntries([...means].map(([name, { sum, count }]) => [name, sum / count]));
      if (kind === "orpo") metrics["nll_loss"] = nll;
      if (kind === "kto") {
        metrics["kl"] = drift;
        const [better, worse] = [metrics["rewards/chosen"], metrics["rewards/rejected"]];
        if (better !== undefined && worse !== undefined) metrics["rewards/margins"] = better - worse;
      }
      return { loss: loss + nll, metrics };
    },
  };
}

function answer(logps: Float64Array, reference: number): Answer {
  return { logp: logps.reduce((sum, value) => sum + value, 0), reference, tokens: logps.length };
}

/** Targets of the answer alone. */
function answerLength({ labels }: Example): number {
  return labels!.reduce((sum, label, i) => sum + (i > 0 && label !== IGNORED ? 1 : 0), 0);
}
