/** Where models come from and where they are kept: the variables that Hugging Face's own tools read. */

import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

export interface HubSettings {
  /** Address of the hub, without a slash at its end. */
  readonly endpoint: string;
  /** Folder of the cache: HF_HUB_CACHE. */
  readonly cache: string;
  /** Sent to the endpoint alone; null for public repositories. */
  readonly token: string | null;
  /** Never ask the network. */
  readonly offline: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Settings by environment variables: HF_ENDPOINT, HF_HUB_CACHE (or HF_HOME, XDG_CACHE_HOME), HF_TOKEN (or
 * HF_TOKEN_PATH, or the file that `hf auth login` writes), HF_HUB_OFFLINE.
 * Source: huggingface_hub `constants.py`.
 */
export function hubSettings(env: Environment): HubSettings {
  const home = env["HF_HOME"] || join(env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "huggingface");
  return {
    endpoint: (env["HF_ENDPOINT"] || "https://huggingface.co").replace(/\/+$/, ""),
    cache: env["HF_HUB_CACHE"] || env["HUGGINGFACE_HUB_CACHE"] || join(home, "hub"),
    token: tokenOf(env, home),
    offline: isOn(env["HF_HUB_OFFLINE"]) || isOn(env["TRANSFORMERS_OFFLINE"]),
  };
}

function tokenOf(env: Environment, home: string): string | null {
  const given = (env["HF_TOKEN"] ?? env["HUGGING_FACE_HUB_TOKEN"])?.trim();
  if (given) return given;
  const path = env["HF_TOKEN_PATH"] || join(home, "token");
  return existsSync(path) ? readFileSync(path, "utf8").trim() || null : null;
}

function isOn(value: string | undefined): boolean {
  return value !== undefined && /^(1|on|yes|true)$/i.test(value.trim());
}
