/** Adapters of any configuration with random values, so that each of them changes the scores. */

import { type Adapter, createAdapter } from "../../src/adapters/adapter.ts";
import { parseAdapterConfig } from "../../src/adapters/bind.ts";
import type { Model } from "../../src/models/open.ts";
import { traceChecked } from "../../src/models/open.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";

export function randomAdapter(model: Model, fields: Readonly<Record<string, unknown>>, seed: number): Adapter {
  const config = parseAdapterConfig({ peft_type: "LORA", ...fields }, "test");
  const adapter = createAdapter(config, model, traceChecked(model, "causal-lm"), seed);
  const random = randomStream(seed, 77);
  const tensors = [...adapter.tensors].map(([key, { shape, data }]) => {
    const values = Float32Array.from(data, (value) => value + 0.2 * (random.uniform() - 0.5));
    return [key, floatTensor(shape, values)] as const;
  });
  return { ...adapter, tensors: new Map(tensors) };
}
