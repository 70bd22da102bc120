import { expect, test } from "vitest";
import { createSampler, largest, logProbabilities, type Sampling } from "../../src/generate/sample.ts";
import { stopFilter } from "../../src/generate/stop.ts";

const scores = Float32Array.from([1, 3, 2, 3, -1, 0.5]);

function shares(options: Sampling, count = 20000): number[] {
  const sampler = createSampler({ temperature: 1, ...options });
  const counts = new Array<number>(scores.length).fill(0);
  for (let i = 0; i < count; i++) counts[sampler.next(scores)]!++;
  return counts.map((each) => each / count);
}

function softmax(values: readonly number[]): number[] {
  const powers = values.map(Math.exp);
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

function expectShares(got: readonly number[], wanted: readonly number[]): void {
  got.forEach((share, i) => {
    expect(Math.abs(share - wanted[i]!)).toBeLessThan(0.015);
    if (wanted[i] === 0) expect(share).toBe(0);
  });
}

test("greedy takes the largest score, the first of equal ones", () => {
  expect(largest(scores)).toBe(1);
  expect(createSampler().next(scores)).toBe(1);
});

test("drawing follows the softmax of the scores over the temperature", () => {
  expectShares(shares({}), softmax([...scores]));
  expectShares(shares({ temperature: 2 }), softmax([...scores].map((score) => score / 2)));
});

test("top-k keeps the k best and ties of the last", () => {
  const none = Number.NEGATIVE_INFINITY;
  expectShares(shares({ topK: 1 }), softmax([none, 3, none, 3, none, none]));
  expectShares(shares({ topK: 3 }), softmax([none, 3, 2, 3, none, none]));
});

test("top-p keeps the fewest best that reach the sum; min-p those near the best", () => {
  const none = Number.NEGATIVE_INFINITY;
  expectShares(shares({ topP: 0.5 }), softmax([none, 3, none, 3, none, none]));
  expectShares(shares({ topP: 0.8 }), softmax([none, 3, 2, 3, none, none]));
  expectShares(shares({ topP: 0.001 }), softmax([none, 3, none, none, none, none]));
  expectShares(shares({ minP: 0.2 }), softmax([none, 3, 2, 3, none, none]));
});

test("the same seed draws the same tokens, another seed others", () => {
  const draws = (seed: number): number[] => {
    const sampler = createSampler({ temperature: 1, seed });
    return Array.from({ length: 30 }, () => sampler.next(scores));
  };
  expect(draws(7)).toEqual(draws(7));
  expect(draws(7)).not.toEqual(draws(8));
});

test("repetition penalty divides positive scores and multiplies negative ones of seen tokens", () => {
  const sampler = createSampler({ repetitionPenalty: 2 });
  sampler.seen(1, "prompt");
  expect(sampler.next(scores)).toBe(3);
  sampler.seen(3, "completion");
  expect(sampler.next(scores)).toBe(2);
});

test("values that mean nothing are refused by name", () => {
  expect(() => createSampler({ temperature: -1 })).toThrow(/temperature is -1/);
  expect(() => createSampler({ topP: 0 })).toThrow(/top-p is 0/);
  expect(() => createSampler({ topK: 1.5 })).toThrow(/top-k is 1.5/);
});

test("a stop string is found across pieces and cut off exactly", () => {
  const run = (stops: string[], pieces: string[]): [string, boolean] => {
    const filter = stopFilter(stops);
    let text = "";
    for (const piece of pieces) text += filter.push(piece);
    if (!filter.stopped) text += filter.end();
    return [text, filter.stopped];
  };
  expect(run(["\n\n"], ["one", "\n", "two\n", "\nthree"])).toEqual(["one\ntwo", true]);
  expect(run(["END"], ["aEN", "xEEN", "D!"])).toEqual(["aENxE", true]);
  expect(run(["END"], ["aE", "N"])).toEqual(["aEN", false]);
  expect(run(["bcd", "c"], ["abcd"])).toEqual(["a", true]);
  expect(run([], ["a", "b"])).toEqual(["ab", false]);
  expect(() => stopFilter([""])).toThrow(/empty/);
});

test("no character of a stop string leaves before it is decided", () => {
  const filter = stopFilter(["stop here"]);
  expect(filter.push("please st")).toBe("please ");
  expect(filter.push("op he")).toBe("");
  expect(filter.push("lp")).toBe("stop help");
});

test("bias, presence and frequency penalties change scores as OpenAI says", () => {
  expect(createSampler({ logitBias: { 5: 10 } }).next(scores)).toBe(5);
  const presence = createSampler({ presencePenalty: 1.5 });
  presence.seen(1, "prompt"); // of the completion only
  expect(presence.next(scores)).toBe(1);
  presence.seen(1, "completion");
  presence.seen(3, "completion");
  expect(presence.next(scores)).toBe(2);
  const frequency = createSampler({ frequencyPenalty: 0.75 });
  frequency.seen(1, "completion");
  expect(frequency.next(scores)).toBe(3);
  for (const _ of [1, 2]) frequency.seen(3, "completion");
  expect(frequency.next(scores)).toBe(1);
  expect(() => createSampler({ presencePenalty: 3 })).toThrow(/presence penalty is 3/);
  expect(() => createSampler({ logitBias: { "-1": 0 } })).toThrow(/-1/);
});

test("log probabilities are those of the softmax, the best tokens first", () => {
  const wanted = softmax([...scores]).map(Math.log);
  const { logprob, top } = logProbabilities(scores, 2, 3);
  expect(logprob).toBeCloseTo(wanted[2]!, 6);
  expect(top.map(({ token }) => token)).toEqual([1, 3, 2]);
  expect(top[0]!.logprob).toBeCloseTo(wanted[1]!, 6);
});
