/** What the rest of the library knows of a runtime: it opens graphs as sessions, and sessions run. */

import type { FloatTensor, Tensor } from "../tensor/tensor.ts";
import type { Monomials, Sizes } from "./sized.ts";
import type { Outputs } from "./to-onnx.ts";

/** What graphs are computed on. */
export const DEVICES = ["cpu", "webgpu"] as const;
export type Device = (typeof DEVICES)[number];

export interface Session {
  /** Computes every output from the inputs; the inputs' memory is read in place and is the caller's again afterwards. */
  run(inputs: ReadonlyMap<string, Tensor>): Promise<ReadonlyMap<string, Tensor>>;
  /** Names of the inputs that a run needs. */
  readonly inputNames: readonly string[];
  /** Frees the session's memory. A session is of no use afterwards. */
  close(): Promise<void>;
}

export interface SessionOptions {
  /** Threads inside one operator. */
  readonly threads: number;
  /** Lets kernels rearrange frozen weights at opening, in memory of their own: what products with blocks are fast by. */
  readonly prepack?: boolean;
  /** Writes a profile in ONNX Runtime's JSON form to files with this prefix. */
  readonly profilePrefix?: string;
  /** Outputs that stay in the device's memory, where there is one: they come as DeviceTensor. */
  keep?(output: string): boolean;
}

/** A float32 tensor in a device's memory, which one run leaves for others. Its `data` cannot be read. */
export interface DeviceTensor extends Tensor {
  /** The runtime's own object. */
  readonly resident: unknown;
  /** Frees the memory. */
  close(): void;
}

export function isOnDevice(tensor: Tensor): tensor is DeviceTensor {
  return "resident" in tensor;
}

/** Memory of a device, into and out of which tensors are moved by the caller. */
export interface DeviceMemory {
  upload(tensor: FloatTensor): Promise<DeviceTensor>;
  read(tensor: DeviceTensor): Promise<FloatTensor>;
}

/** Builds a graph for sizes; what it builds must follow them in nothing but extents. */
export interface SizedGraph {
  readonly probes: readonly Sizes[];
  readonly monomials: Monomials;
  build(sizes: Sizes): Outputs;
}

export interface Runtime {
  /** Absent where sessions compute in the caller's own memory. */
  readonly memory?: DeviceMemory;
  open(outputs: Outputs, options: SessionOptions): Promise<Session>;
  /** A session for all sizes, whose runs take the sizes as inputs (SIZE_INPUT); null when the graph has none. */
  openSized(graph: SizedGraph, options: SessionOptions): Promise<Session | null>;
}
