/** Where quantised copies of bases go: LOWRANK_CACHE, else the user's cache folder. */

import { homedir } from "node:os";
import { join } from "node:path";

export function cacheFolder(): string {
  const { LOWRANK_CACHE, XDG_CACHE_HOME } = process.env;
  return LOWRANK_CACHE || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "lowrank");
}
