/** What the page's thread and the drawing thread say to each other. */

import type { ImageOptions } from "../diffusion/generate.ts";
import type { PipelineOptions } from "../diffusion/pipeline.ts";
import type { AdapterWeights } from "../diffusion/prompt.ts";
import type { WireError } from "../wire-error.ts";

/** A diffusers folder or a single-file checkpoint, and how it is opened. */
export interface ImageBase extends PipelineOptions {
  readonly model: string;
}

export interface DrawerSettings {
  readonly base: ImageBase;
  readonly threads: number;
  /** Of this package, for the pictures' metadata. */
  readonly version: string;
}

/** A file, as it was at a time. */
export interface UsedAdapter {
  readonly name: string;
  readonly file: string;
  readonly time: number;
  readonly weights: AdapterWeights;
}

export interface DrawCall {
  /** As it was typed, for the metadata. */
  readonly typed: string;
  /** Without tags of adapters. */
  readonly prompt: string;
  readonly negativePrompt: string | null;
  readonly options: Pick<ImageOptions, "steps" | "guidance" | "seed" | "previewSteps">;
  readonly adapters: readonly UsedAdapter[];
}

export type DrawEvent =
  | { readonly event: "step"; readonly step: number; readonly steps: number }
  /** A PNG file. */
  | { readonly event: "preview"; readonly png: Uint8Array }
  | { readonly event: "warning"; readonly message: string }
  | { readonly event: "image"; readonly png: Uint8Array; readonly seconds: number };

export interface ToDrawer {
  readonly number: number;
  readonly call: DrawCall;
}

export type FromDrawer =
  | { readonly number: number; readonly event: DrawEvent }
  | { readonly number: number; readonly error: WireError }
  | { readonly number: number; readonly end: true };

export interface DrawerData extends DrawerSettings {
  /** One number: calls up to it are to end. */
  readonly cancelled: Int32Array<SharedArrayBuffer>;
}
