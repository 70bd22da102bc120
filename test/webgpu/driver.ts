/** Whether this machine can run WebGPU, found out by multiplying two numbers; null, or why it cannot. */

import { input } from "../../src/graph/graph.ts";
import { mul } from "../../src/graph/ops/index.ts";
import { runtimeOn } from "../../src/runtime/devices.ts";

export const noDriver: string | null = await (async () => {
  try {
    const x = input("x", "f32", [1]);
    await (await runtimeOn("webgpu").open(new Map([["y", mul(x, x)]]), { threads: 1 })).close();
    return null;
  } catch (error) {
    return (error as Error).message.split("\n")[0]!;
  }
})();
