/** What the singular values of an update say of its rank. */

export interface Spectrum {
  /** σ₁ ≥ σ₂ ≥ … of ΔW. */
  readonly singularValues: readonly number[];
  /** ‖ΔW‖_F */
  readonly norm: number;
  /** exp of the entropy of σᵢ / Σσ (Roy and Vetterli 2007): between 1 and the rank. */
  readonly effectiveRank: number;
  /** ‖ΔW‖²_F / σ₁² */
  readonly stableRank: number;
  /** Fewest singular values that hold 90 %, 99 % of Σσ². */
  readonly rank90: number;
  readonly rank99: number;
}

export function spectrumOf(s: Float64Array): Spectrum {
  const sum = s.reduce((total, value) => total + value, 0);
  const energy = s.reduce((total, value) => total + value * value, 0);
  const entropy = s.reduce((total, value) => (value > 0 ? total - (value / sum) * Math.log(value / sum) : total), 0);
  return {
    singularValues: [...s],
    norm: Math.sqrt(energy),
    effectiveRank: energy === 0 ? 0 : Math.exp(entropy),
    stableRank: energy === 0 ? 0 : energy / s[0]! ** 2,
    rank90: rankHolding(s, 0.9),
    rank99: rankHolding(s, 0.99),
  };
}

/** Fewest singular values that hold `share` of Σσ²; 0 when all are zero. */
export function rankHolding(s: Float64Array, share: number): number {
  const energy = s.reduce((total, value) => total + value * value, 0);
  if (energy === 0) return 0;
  let held = 0;
  for (let i = 0; i < s.length; i++) {
    held += s[i]! * s[i]!;
    if (held >= share * energy * (1 - 1e-12)) return i + 1;
  }
  return s.length;
}
