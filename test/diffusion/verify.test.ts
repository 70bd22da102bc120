/** The reference cases of diffusion, made by diffusers 0.42.1 and PEFT: `lowrank verify` computes every tensor of them. */

import { cpSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { gradient } from "../../src/autodiff/gradient.ts";
import { mountBranches } from "../../src/diffusion/adapter.ts";
import { unetInputs } from "../../src/diffusion/component.ts";
import { openPipeline } from "../../src/diffusion/pipeline.ts";
import { readImageLora } from "../../src/diffusion/read-lora.ts";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { sumAll } from "../../src/graph/ops/broadcast.ts";
import { createStream } from "../../src/models/stream.ts";
import { unet } from "../../src/models/unet.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { sizeOf } from "../../src/tensor/shape.ts";
import { floatTensor, type Tensor } from "../../src/tensor/tensor.ts";
import { verifyHere } from "../../src/verify/verify.ts";
import { singleFile } from "./single-files.ts";

const scratch = mkdtempSync(join(tmpdir(), "lowrank-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const caseOf = (name: string): string => fileURLToPath(new URL(`cases/${name}`, import.meta.url));

test.each(["sd1", "sd2", "schedulers"])("%s: every tensor within 1e-4", async (name) => {
  const write = join(scratch, `${name}.safetensors`);
  const { tensors, differences } = await verifyHere({ folder: caseOf(name), write, scratch, threads: 1 }, nodeRuntime);
  expect([...openSafetensors(write).tensors.keys()].length).toBe(tensors);
  expect(Object.entries(differences).filter(([, difference]) => !(difference < 1e-5))).toEqual([]);
  expect(tensors).toBeGreaterThan(80);
});

test("a case whose weights are a single-file checkpoint", async () => {
  const folder = join(scratch, "single");
  cpSync(caseOf("sd2"), folder, { recursive: true, filter: (path) => !/model\.safetensors$/.test(path) });
  renameSync(singleFile("sd2", scratch), join(folder, "model.safetensors"));
  const write = join(scratch, "single.safetensors");
  const { differences } = await verifyHere({ folder, write, scratch, threads: 1 }, nodeRuntime);
  expect(Object.entries(differences).filter(([, difference]) => !(difference < 1e-5))).toEqual([]);
});

test("blocks computed again in the backward pass give the same gradients", async () => {
  const pipeline = openPipeline(caseOf("sd1"));
  const { adapter } = readImageLora(join(caseOf("sd1"), "lora_kohya", "lora.safetensors"), pipeline);
  const { config, weights: base } = pipeline.unet;
  const gradients = async (recompute: boolean): Promise<ReadonlyMap<string, Tensor>> => {
    const stream = createStream(1, 1, { recompute });
    const mounted = mountBranches(base(stream), [{ prefix: "", branches: adapter.get("unet")! }]);
    const inputs = unetInputs(config, { B: 1, H: 8, W: 6, M: 5 }, { trainableContext: true });
    const targets = new Map([["context", inputs.context], ...mounted.parameters]);
    const loss = sumAll(unet(mounted.weights, config, inputs));
    const dys = gradient(loss, [...targets.values()]);
    const outputs = new Map([...targets.keys()].map((name, i) => [name, dys[i]!]));
    const feeds = new Map<string, Tensor>(mounted.tensors);
    for (const name of ["sample", "time", "context"] as const) {
      const { shape } = inputs[name];
      const random = randomStream(1, shape.length);
      feeds.set(
        name,
        floatTensor(
          shape,
          Float32Array.from({ length: sizeOf(shape) }, () => random.normal()),
        ),
      );
    }
    const session = await nodeRuntime.open(new Map([...outputs].map(([name, value]) => [`grad.${name}`, value])), {
      threads: 1,
    });
    const results = await session.run(feeds);
    await session.close();
    return results;
  };
  const [kept, again] = [await gradients(false), await gradients(true)];
  for (const [name, { data }] of kept) {
    const largest = Math.max(...Array.from(data as Float32Array, Math.abs));
    (data as Float32Array).forEach((value, i) => {
      expect(Math.abs(value - (again.get(name)!.data as Float32Array)[i]!), name).toBeLessThan(1e-5 * largest);
    });
  }
});
