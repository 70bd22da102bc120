/** How many threads to compute with unless told. */

import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

/** More than this many rarely helps a matrix product of a small model. */
const LIMIT = 16;

/** One thread a physical core that this process may use: the second thread of a core slows matrix products down. */
export function defaultThreads(): number {
  const logical = availableParallelism();
  return Math.max(1, Math.min(LIMIT, logical, physicalCores() ?? logical));
}

function physicalCores(): number | null {
  if (process.platform !== "linux") return null;
  try {
    const cores = new Set<string>();
    let socket = "";
    for (const line of readFileSync("/proc/cpuinfo", "utf8").split("\n")) {
      const [key, value = ""] = line.split(/\s*:\s*/);
      if (key === "physical id") socket = value;
      if (key === "core id") cores.add(`${socket}/${value}`);
    }
    return cores.size > 0 ? cores.size : null;
  } catch {
    return null;
  }
}
