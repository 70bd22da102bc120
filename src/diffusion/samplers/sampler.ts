/** What takes a sample from noise to an image, one step at a time. */

export interface Sampler {
  /** What the model is told at each step: steps of training, which may be fractions. */
  readonly timesteps: readonly number[];
  /** Standard deviation of the first sample's noise. */
  readonly startSigma: number;
  /** Factor on the sample before the model sees it at step `index`. */
  inputScale(index: number): number;
  /**
   * The sample after step `index`, and the finished image as it looks from there; both are new arrays. Steps are taken in
   * order, beginning anywhere. `noise` draws standard normal numbers; samplers that add none do not call it.
   */
  step(output: Float32Array, index: number, sample: Float32Array, noise: () => Float32Array): Stepped;
  /** A finished image with the noise that step `index` begins with. */
  start(image: Float32Array, noise: Float32Array, index: number): Float32Array;
}

export interface Stepped {
  readonly sample: Float32Array;
  readonly image: Float32Array;
}
