/**
 * Losses over judged answers, as numbers: each with its derivative by the answers' log probabilities, which is all that
 * the model's gradient needs to know of it.
 *
 * Sources: DPO, Rafailov et al. 2023, eq. 7, with conservative label smoothing (Mitchell 2023); hinge, Zhao et al. 2023;
 * IPO, Azar et al. 2023, eq. 17, per token as its authors compute it; ORPO, Hong et al. 2024, eq. 4 to 7; KTO,
 * Ethayarajh et al. 2024, eq. 7. Normalised as in TRL (`dpo_trainer.py`, `orpo_trainer.py`, `kto_trainer.py`).
 */

export const PREFERENCE_LOSSES = ["dpo", "ipo", "hinge", "orpo", "kto"] as const;
export type PreferenceLoss = (typeof PREFERENCE_LOSSES)[number];

/** What the model says of an answer. */
export interface Answer {
  /** Σ log p over its tokens. */
  readonly logp: number;
  /** The same by the reference model; not asked for by ORPO, which has none. */
  readonly reference: number;
  readonly tokens: number;
}

export interface PairLoss {
  readonly loss: number;
  /** ∂ loss / ∂ logp of each answer. */
  readonly chosen: number;
  readonly rejected: number;
}

export interface PairOptions {
  /** How strongly the model is held to its reference; for ORPO the share of its odds ratio. */
  readonly beta: number;
  /** Share of the pairs that are taken to be labelled the wrong way round (DPO). */
  readonly labelSmoothing: number;
}

/** The loss of one pair; ORPO's without its cross-entropy, which is a mean over all tokens of a step. */
export function pairLoss(
  kind: Exclude<PreferenceLoss, "kto">,
  chosen: Answer,
  rejected: Answer,
  { beta, labelSmoothing }: PairOptions,
): PairLoss {
  const gain = ({ logp, reference }: Answer): number => logp - reference;
  switch (kind) {
    case "dpo": {
      const margin = beta * (gain(chosen) - gain(rejected));
      const loss = -(1 - labelSmoothing) * logSigmoid(margin) - labelSmoothing * logSigmoid(-margin);
      const slope = beta * (labelSmoothing * sigmoid(margin) - (1 - labelSmoothing) * sigmoid(-margin));
      return { loss, chosen: slope, rejected: -slope };
    }
    case "hinge": {
      const margin = beta * (gain(chosen) - gain(rejected));
      const slope = margin < 1 ? -beta : 0;
      return { loss: Math.max(0, 1 - margin), chosen: slope, rejected: -slope };
    }
    case "ipo": {
      const off = gain(chosen) / chosen.tokens - gain(rejected) / rejected.tokens - 1 / (2 * beta);
      return { loss: off ** 2, chosen: (2 * off) / chosen.tokens, rejected: (-2 * off) / rejected.tokens };
    }
    case "orpo": {
      const [better, worse] = [chosen.logp / chosen.tokens, rejected.logp / rejected.tokens];
      const odds = logOdds(better) - logOdds(worse);
      const slope = -beta * sigmoid(-odds);
      return {
        loss: -beta * logSigmoid(odds),
        chosen: slope / -Math.expm1(better) / chosen.tokens, // d logOdds(x) / dx = 1 / (1 − eˣ)
        rejected: -slope / -Math.expm1(worse) / rejected.tokens,
      };
    }
  }
}

export interface VerdictOptions {
  readonly beta: number;
  readonly desirableWeight: number;
  readonly undesirableWeight: number;
}

/** KTO's loss of one answer; `drift` is the estimated divergence from the reference, which no gradient goes through. */
export function verdictLoss(
  { logp, reference }: Answer,
  desirable: boolean,
  drift: number,
  { beta, desirableWeight, undesirableWeight }: VerdictOptions,
): { readonly loss: number; readonly slope: number } {
  const [weight, sign] = desirable ? [desirableWeight, 1] : [undesirableWeight, -1];
  const value = sigmoid(sign * beta * (logp - reference - drift));
  return { loss: weight * (1 - value), slope: -sign * weight * beta * value * (1 - value) };
}

/** log (p / (1 − p)) for p = eˣ. */
export function logOdds(x: number): number {
  return x - Math.log(-Math.expm1(x));
}

export function logSigmoid(x: number): number {
  return x < 0 ? x - Math.log1p(Math.exp(x)) : -Math.log1p(Math.exp(-x));
}

function sigmoid(x: number): number {
  return Math.exp(logSigmoid(x));
}
