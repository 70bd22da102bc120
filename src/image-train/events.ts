/** The events of training on images: what `image train --json` prints, a line each. Names as those of `train`. */

import type { CheckpointEvent, InterruptedEvent, WarningEvent } from "../train/events.ts";
import type { ImageMethod } from "./options.ts";

export interface ImageStartEvent {
  readonly event: "start";
  readonly method: ImageMethod;
  readonly trainableParameters: number;
  readonly totalParameters: number;
  readonly targets: readonly string[];
  readonly images: number;
  readonly classImages: number;
  /** Sizes in pixels with how many images have them: "512x512". */
  readonly sizes: Readonly<Record<string, number>>;
  readonly steps: number;
  readonly threads: number;
  readonly resumedFrom?: number;
}

export interface ImageStepEvent {
  readonly event: "step";
  readonly step: number;
  /** Before the update. */
  readonly loss: number;
  /** Before clipping. */
  readonly gradNorm: number;
  readonly learningRate: number;
  readonly images: number;
  readonly imagesPerSecond: number;
  readonly seconds: number;
}

/** A picture of the class that the base drew before training. */
export interface ClassImageEvent {
  readonly event: "class-image";
  readonly image: number;
  /** How many are drawn. */
  readonly images: number;
  readonly path: string;
}

/** Loss of the held-out images at noise that is the same every time. */
export interface ImageEvalEvent {
  readonly event: "eval";
  readonly step: number;
  readonly loss: number;
}

export interface ImageSampleEvent {
  readonly event: "sample";
  readonly step: number;
  readonly prompt: string;
  /** A PNG file. */
  readonly path: string;
}

export interface ImageDoneEvent {
  readonly event: "done";
  readonly out: string;
  /** The files that hold what was trained. */
  readonly files: readonly string[];
  readonly steps: number;
  readonly loss: number;
  readonly seconds: number;
  /** Median over the steps after the first. */
  readonly imagesPerSecond: number;
  readonly peakMemoryBytes: number;
}

export type ImageTrainEvent =
  | ClassImageEvent
  | ImageStartEvent
  | ImageStepEvent
  | ImageEvalEvent
  | ImageSampleEvent
  | CheckpointEvent
  | WarningEvent
  | InterruptedEvent
  | ImageDoneEvent;
