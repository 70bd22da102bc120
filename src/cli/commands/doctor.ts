/** `lowrank doctor` */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { arch, availableParallelism, cpus, platform, totalmem } from "node:os";
import { messageOf } from "../../errors.ts";
import type { Device } from "../../runtime/session.ts";
import { type Command, defineCommand } from "../command.ts";
import { table } from "../output.ts";
import { defaultThreads } from "../threads.ts";

/** Instruction sets that decide how fast products are. */
const FEATURES = ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile"];

const command: Command = defineCommand({
  summary: "Check this machine and this installation",
  usage: "[options]",
  flags: {},
  run: async ({ output }) => {
    const session = await trySession("cpu");
    const webgpu = await trySession("webgpu");
    const embedded = await findEmbedded();
    const report = {
      node: process.versions.node,
      platform: `${platform()} ${arch()}`,
      cpu: cpus()[0]?.model.trim() ?? "unknown",
      cores: availableParallelism(),
      threads: defaultThreads(),
      memoryBytes: totalmem(),
      features: cpuFeatures(),
      onnxruntime: runtimeVersion(),
      session,
      webgpu,
      precision: session.ok ? await precisionPaths() : null,
      embedded,
    };
    output.result(report, () =>
      table([
        ["node", report.node],
        ["platform", report.platform],
        ["cpu", `${report.cpu}, ${report.cores} cores, ${report.threads} threads by default`],
        ["memory", `${(report.memoryBytes / 2 ** 30).toFixed(1)} GiB`],
        ["features", report.features === null ? "unknown" : report.features.join(", ") || "none that help"],
        ["onnxruntime", report.onnxruntime ?? "not found: run npm install"],
        ["session", session.ok ? "runs" : `fails: ${session.error}`],
        ...(report.precision
          ? [
              [
                "int8",
                report.precision.int8 === 127 ? "exact in eight bits" : "weights in seven bits: eight would saturate",
              ],
              [
                "int4",
                report.precision.int4 ? "decodes by the four-bit kernel" : "the four-bit kernel fails; use int8",
              ],
            ]
          : []),
        ["webgpu", webgpu.ok ? "runs (--device webgpu)" : `none: ${webgpu.error?.split("\n")[0]}`],
        ["embedded", embedded.map(({ name, ok, error }) => (ok ? name : `${name} (${error})`)).join(", ") || "none"],
      ]),
    );
    return session.ok ? 0 : 1;
  },
});

export default command;

/** Which of them the CPU has; null where the system does not say. */
function cpuFeatures(): string[] | null {
  if (platform() !== "linux") return null;
  try {
    const flags = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"));
    const has = new Set(flags?.[1]?.split(" "));
    return FEATURES.filter((name) => has.has(name));
  } catch {
    return null;
  }
}

/** How far products in few bits go on this machine, found out by computing. */
async function precisionPaths(): Promise<{ readonly int8: number; readonly int4: boolean }> {
  const [{ nodeRuntime }, { byteLevels, fourBitKernel }] = await Promise.all([
    import("../../runtime/node.ts"),
    import("../../precision/levels.ts"),
  ]);
  const int4 = await fourBitKernel(nodeRuntime).catch(() => false);
  return { int8: await byteLevels(nodeRuntime), int4 };
}

function runtimeVersion(): string | null {
  try {
    const path = createRequire(import.meta.url).resolve("onnxruntime-node/package.json");
    return (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
  } catch {
    return null;
  }
}

/** Opens a graph of one product and runs it. */
async function trySession(device: Device): Promise<{ readonly ok: boolean; readonly error?: string }> {
  try {
    const [{ runtimeOn }, { input }, { matMul }] = await Promise.all([
      import("../../runtime/devices.ts"),
      import("../../graph/graph.ts"),
      import("../../graph/ops/matmul.ts"),
    ]);
    const product = matMul(input("a", "f32", [1, 2]), input("b", "f32", [2, 1]));
    const session = await runtimeOn(device).open(new Map([["y", product]]), { threads: 1 });
    const tensor = (shape: readonly number[]) => ({ dtype: "f32", shape, data: Float32Array.of(2, 3) }) as const;
    const outputs = await session.run(
      new Map([
        ["a", tensor([1, 2])],
        ["b", tensor([2, 1])],
      ]),
    );
    await session.close();
    const found = outputs.get("y")?.data[0];
    return found === 13 ? { ok: true } : { ok: false, error: `2·2 + 3·3 gave ${found}` };
  } catch (error) {
    return { ok: false, error: messageOf(error) };
  }
}

async function findEmbedded(): Promise<{ readonly name: string; readonly ok: boolean; readonly error?: string }[]> {
  const [{ embeddedNames, locateEmbedded }, { openCheckpoint }, { isPipeline, openPipeline }] = await Promise.all([
    import("../../files/embedded.ts"),
    import("../../files/checkpoint.ts"),
    import("../../diffusion/pipeline.ts"),
  ]);
  return embeddedNames("base").map((name) => {
    try {
      const folder = locateEmbedded(`embedded:${name}`, "base");
      if (isPipeline(folder)) openPipeline(folder);
      else openCheckpoint(folder);
      return { name: `embedded:${name}`, ok: true };
    } catch (error) {
      return { name: `embedded:${name}`, ok: false, error: messageOf(error) };
    }
  });
}
