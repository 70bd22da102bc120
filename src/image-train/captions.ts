/** Captions as a step sees them: with the trigger, tags shuffled, or dropped. Drawn by (seed, step, place) alone. */

import { permutation, type Random } from "../tensor/random.ts";

export interface CaptionOptions {
  readonly trigger: string | null;
  readonly captionDropout: number;
  readonly shuffleTags: boolean;
  readonly keepTokens: number;
}

/** With the trigger before it, unless the caption says it already. */
export function withTrigger(caption: string, trigger: string | null): string {
  if (trigger === null || caption.toLowerCase().includes(trigger.toLowerCase())) return caption;
  return caption === "" ? trigger : `${trigger}, ${caption}`;
}

/** What a step reads of a caption. Tags are what stands between commas; the first `keepTokens` never move. */
export function drawnCaption(caption: string, options: CaptionOptions, random: Random): string {
  if (random.uniform() < options.captionDropout) return "";
  const text = withTrigger(caption, options.trigger);
  if (!options.shuffleTags) return text;
  const tags = text.split(",").map((tag) => tag.trim());
  const kept = options.keepTokens + (options.trigger === null ? 0 : options.trigger.split(",").length);
  const moved = tags.slice(kept);
  return [...tags.slice(0, kept), ...Array.from(permutation(moved.length, random), (i) => moved[i]!)].join(", ");
}
