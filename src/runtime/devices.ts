/** The runtimes of Node, by device. */

import { open } from "node:fs/promises";
import * as ort from "onnxruntime-node";
import { LowrankError } from "../errors.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { typedView } from "../tensor/dtype.ts";
import type { StoredTensor } from "../tensor/tensor.ts";
import { nodeRuntime } from "./node.ts";
import type { Device, Runtime } from "./session.ts";
import { webgpuRuntime } from "./webgpu.ts";

const ADVICE =
  "It needs a GPU with a Vulkan 1.1 driver (Linux), Direct3D 12 (Windows) or Metal (macOS). On Debian and Ubuntu install " +
  "libvulkan1 and mesa-vulkan-drivers 24 or newer, which also hold a software driver. Or compute with --device cpu.";

/** The runtime that computes on `device`. One holds what its sessions share, so a run has one. */
export function runtimeOn(device: Device): Runtime {
  return device === "cpu" ? nodeRuntime : webgpuRuntime({ ort, advice: ADVICE, read });
}

async function read({ path, offset, byteLength, dtype, shape }: StoredTensor): Promise<Float32Array> {
  const bytes = new Uint8Array(byteLength);
  const file = await open(path, "r");
  try {
    for (let at = 0; at < byteLength; ) {
      const { bytesRead } = await file.read(bytes, at, Math.min(byteLength - at, 2 ** 30), offset + at);
      if (bytesRead === 0) throw new LowrankError(`${path} has become shorter while it was read. Load it again.`);
      at += bytesRead;
    }
  } finally {
    await file.close();
  }
  return toFloat32({ dtype, shape, data: typedView(dtype, bytes) });
}
