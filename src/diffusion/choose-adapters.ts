/** Which adapters a generation uses, and how strongly: those named beside the prompt, and those that its tags name. */

import { UsageError } from "../errors.ts";
import { type AdapterWeights, evenWeights, type PromptTag } from "./prompt.ts";

export interface NamedAdapter {
  readonly name: string;
  readonly path: string;
  readonly weight: number;
  /** Parts of the UNet that have a weight of their own. */
  readonly blocks: Readonly<Record<string, number>>;
}

export interface ChosenAdapter {
  readonly name: string;
  readonly path: string;
  readonly weights: AdapterWeights;
}

/**
 * Adapters in order, a tag's weight before the one beside the name. `find` gives the path of an adapter that only a tag
 * names, null when there is none. Throws UsageError for a tag that names nothing.
 */
export function chooseAdapters(
  named: readonly NamedAdapter[],
  tags: readonly PromptTag[],
  find: (name: string) => string | null,
): ChosenAdapter[] {
  const chosen = new Map<string, ChosenAdapter>();
  for (const { name, path, weight, blocks } of named) {
    chosen.set(name, { name, path, weights: { ...evenWeights(weight), blocks } });
  }
  for (const { name, weights } of tags) {
    const held = chosen.get(name);
    const path = held?.path ?? find(name);
    if (path === null) {
      const known = [...chosen.keys()];
      throw new UsageError(
        `Prompt: <lora:${name}> names no adapter. ${known.length > 0 ? `There are ${known.join(", ")}.` : ""} Give it with --adapter ${name}=PATH, or its folder with --adapters-dir.`,
      );
    }
    chosen.set(name, { name, path, weights: { ...weights, blocks: { ...held?.weights.blocks, ...weights.blocks } } });
  }
  return [...chosen.values()];
}
