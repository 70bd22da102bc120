/** Frozen tensors in a device's memory: one copy for all sessions, freed with the last of them. */

import { floatTensor, type StoredTensor } from "../tensor/tensor.ts";
import type { DeviceMemory, DeviceTensor } from "./session.ts";

interface Resident {
  readonly tensor: Promise<DeviceTensor>;
  readers: number;
}

export interface ResidentTensors {
  /** The tensors by name on the device, until `release`. */
  acquire(
    stored: ReadonlyMap<string, StoredTensor>,
  ): Promise<{ readonly tensors: ReadonlyMap<string, DeviceTensor>; release(): void }>;
}

export function residentTensors(
  { read }: { read(tensor: StoredTensor): Promise<Float32Array> },
  memory: DeviceMemory,
): ResidentTensors {
  const all = new Map<string, Resident>();
  const keyOf = ({ path, offset }: StoredTensor): string => `${offset} ${path}`;
  const release = (key: string): void => {
    const held = all.get(key)!;
    if (--held.readers > 0) return;
    all.delete(key);
    held.tensor.then(
      (tensor) => tensor.close(),
      () => {},
    );
  };
  return {
    acquire: async (stored) => {
      const tensors = new Map<string, DeviceTensor>();
      const keys: string[] = [];
      try {
        for (const [name, tensor] of stored) {
          const key = keyOf(tensor);
          const held = all.get(key) ?? {
            tensor: read(tensor).then((data) => memory.upload(floatTensor(tensor.shape, data))),
            readers: 0,
          };
          held.readers++;
          all.set(key, held);
          keys.push(key);
          tensors.set(name, await held.tensor);
        }
      } catch (error) {
        keys.forEach(release);
        throw error;
      }
      return { tensors, release: () => keys.forEach(release) };
    },
  };
}
