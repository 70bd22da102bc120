/** What a run lowers: losses and gradients of the images of a step. */

export interface StepResult {
  readonly loss: number;
  readonly gradients: ReadonlyMap<string, Float32Array>;
  readonly images: number;
}

export interface ImageObjective {
  /** Images of an epoch, repeats counted. */
  readonly rows: number;
  /** The step's result; null when `stop` asked for an end in its midst. */
  step(rows: readonly number[], step: number, stop: () => boolean): Promise<StepResult | null>;
  /** Loss of the held-out images; null without any. */
  readonly evaluate: (() => Promise<number>) | null;
  close(): Promise<void>;
}

/** Adds gradients up by name, in float32 as they are. */
export function addGradients(sum: Map<string, Float32Array>, more: ReadonlyMap<string, Float32Array>): void {
  for (const [name, values] of more) {
    const held = sum.get(name);
    if (held) for (let i = 0; i < held.length; i++) held[i]! += values[i]!;
    else sum.set(name, values.slice());
  }
}
