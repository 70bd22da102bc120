/** Where derived copies of bases go when nobody says. */

import { homedir } from "node:os";
import { join } from "node:path";

export function defaultCacheFolder(): string {
  return join(homedir(), ".cache", "lowrank");
}
