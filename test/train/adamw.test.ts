/** The optimizer against PyTorch's AdamW and clip_grad_norm_, in float32. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { floatTensor } from "../../src/tensor/tensor.ts";
import { adamwStep, clipFactor, createMoments, globalNorm } from "../../src/train/adamw.ts";

type Named = Readonly<Record<string, readonly number[]>>;

const { adamw } = JSON.parse(readFileSync(new URL("constants.json", import.meta.url), "utf8")) as {
  adamw: {
    readonly shapes: Named;
    readonly start: Named;
    readonly settings: {
      readonly betas: readonly [number, number];
      readonly eps: number;
      readonly weightDecay: number;
      readonly maxGradNorm: number;
    };
    readonly steps: readonly {
      readonly rate: number;
      readonly norm: number;
      readonly gradients: Named;
      readonly after: Named;
    }[];
  };
};

test("eight steps with decay and clipping follow PyTorch to float32's rounding", () => {
  const { shapes, start, settings, steps } = adamw;
  const parameters = new Map(
    Object.entries(start).map(([key, values]) => [key, floatTensor(shapes[key]!, Float32Array.from(values))]),
  );
  const moments = createMoments(parameters);
  steps.forEach(({ rate, norm, gradients, after }, i) => {
    const named = new Map(Object.entries(gradients).map(([key, values]) => [key, Float32Array.from(values)]));
    const found = globalNorm(named);
    expect(Math.abs(found / norm - 1)).toBeLessThan(1e-6);
    const factor = clipFactor(found, settings.maxGradNorm);
    adamwStep(parameters, named, moments, settings, { step: i + 1, learningRate: rate, factor });
    for (const [key, wanted] of Object.entries(after)) {
      wanted.forEach((value, j) => {
        expect(Math.abs(parameters.get(key)!.data[j]! - value), `step ${i + 1}, ${key}[${j}]`).toBeLessThan(3e-7);
      });
    }
  });
});

test("a limit of 0 never clips, and small gradients are left alone", () => {
  expect(clipFactor(1e9, 0)).toBe(1);
  expect(clipFactor(0.5, 1)).toBe(1);
  expect(clipFactor(4, 1)).toBeCloseTo(0.25, 6);
});

test("rateOf scales the learning rate and the decay of one tensor", () => {
  const run = (learningRate: number, rateOf?: (key: string) => number): Float32Array => {
    const parameters = new Map([["b", floatTensor([2], Float32Array.of(1, -2))]]);
    const gradients = new Map([["b", Float32Array.of(0.3, 0.1)]]);
    const options = { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.1 } as const;
    adamwStep(parameters, gradients, createMoments(parameters), options, {
      step: 1,
      learningRate,
      factor: 1,
      ...(rateOf ? { rateOf } : {}),
    });
    return parameters.get("b")!.data;
  };
  expect(run(0.01, () => 16)).toEqual(run(0.16));
});
