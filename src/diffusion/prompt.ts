/** Prompts with adapters in them: `a house <lora:papercut:0.8>`, as Stable Diffusion's user interfaces write them. */

import { UsageError } from "../errors.ts";

/** Factors on an adapter's effect. */
export interface AdapterWeights {
  /** On the UNet's layers. */
  readonly unet: number;
  /** On the text encoders' layers. */
  readonly text: number;
  /** On parts of the UNet beside that: "down", "mid", "up", "down.1"; the longest name that fits counts. */
  readonly blocks: Readonly<Record<string, number>>;
}

export interface PromptTag {
  readonly name: string;
  readonly weights: AdapterWeights;
}

export interface ParsedPrompt {
  /** Without its tags. */
  readonly text: string;
  readonly tags: readonly PromptTag[];
}

/** The same weight for everything. */
export function evenWeights(weight: number): AdapterWeights {
  return { unet: weight, text: weight, blocks: {} };
}

const TAG = /<lora:([^:<>]+)((?::[^:<>]*)*)>/g;
/** Names of the parts, A1111's among them. */
const PARTS: Readonly<Record<string, string>> = { in: "down", down: "down", mid: "mid", out: "up", up: "up" };

/**
 * Takes the tags out of a prompt: `<lora:NAME>`, `<lora:NAME:WEIGHT>`, `<lora:NAME:TEXT:UNET>`, and named ones as
 * `<lora:NAME:unet=0.8:te=0.5:mid=0>`. Throws UsageError for a tag that is none of these.
 */
export function parsePrompt(prompt: string): ParsedPrompt {
  const tags: PromptTag[] = [];
  const text = prompt.replace(TAG, (tag, name: string, rest: string) => {
    tags.push({ name: name.trim(), weights: tagWeights(tag, rest.split(":").slice(1)) });
    return "";
  });
  return { text: tags.length === 0 ? text : text.replace(/\s{2,}/g, " ").trim(), tags };
}

function tagWeights(tag: string, parts: readonly string[]): AdapterWeights {
  const fail = (): never => {
    throw new UsageError(
      `Prompt: ${tag} is no adapter's tag. Write <lora:NAME:0.8>, <lora:NAME:TEXT:UNET> or <lora:NAME:unet=0.8:te=0.5>.`,
    );
  };
  const plain = parts.filter((part) => !part.includes("=")).map((part) => numberOf(part) ?? fail());
  if (plain.length > 2) fail();
  let [text, unet] = [plain[0] ?? 1, plain[1] ?? plain[0] ?? 1];
  const blocks: Record<string, number> = {};
  for (const part of parts.filter((each) => each.includes("="))) {
    const [key = "", value = ""] = part.split("=").map((each) => each.trim());
    const weight = numberOf(value) ?? fail();
    const block = blockName(key);
    if (key === "te" || key === "text") text = weight;
    else if (key === "unet") unet = weight;
    else if (block !== null) blocks[block] = weight;
    else fail();
  }
  return { unet, text, blocks };
}

/** Reads `down=0.5,mid=0,up.1=0.2`. Throws UsageError for anything else. */
export function parseBlocks(text: string, flag: string): Record<string, number> {
  return Object.fromEntries(
    text.split(",").map((part) => {
      const [key = "", value = ""] = part.split("=");
      const [block, weight] = [blockName(key.trim()), numberOf(value)];
      if (block === null || weight === null) {
        throw new UsageError(
          `${flag}: found ${JSON.stringify(part)}, needed down, mid, up or down.1 and a number: mid=0.5.`,
        );
      }
      return [block, weight];
    }),
  );
}

/** The weight of a module of the UNet. */
export function unetWeight({ unet, blocks }: AdapterWeights, module: string): number {
  const place = /^(down|mid|up)_blocks?(?:\.(\d+))?/.exec(module);
  if (!place) return unet;
  const [, part = "", number] = place;
  return unet * (blocks[`${part}.${number}`] ?? blocks[part] ?? 1);
}

/** "down", "mid.0" or "up.1"; null for what is no part of a UNet. */
function blockName(key: string): string | null {
  const [part = "", number, ...more] = key.split(".");
  const known = Object.hasOwn(PARTS, part) ? PARTS[part]! : null;
  if (known === null || more.length > 0 || (number !== undefined && !/^\d+$/.test(number))) return null;
  return number === undefined ? known : `${known}.${number}`;
}

function numberOf(text: string): number | null {
  return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : null;
}
