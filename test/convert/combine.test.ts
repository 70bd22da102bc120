import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { COMBINATIONS, combineAdapters } from "../../src/convert/combine.ts";
import { readLora } from "../../src/convert/lora-file.ts";
import { resizeAdapter } from "../../src/convert/resize.ts";
import { readJsonObject } from "../../src/files/json-file.ts";
import { largestDifference, putAdapter, type Rows, randomRows, temporaryFolder, updateOf } from "./support.ts";

interface Reference {
  readonly a: { readonly config: object; readonly tensors: Record<string, Rows> };
  readonly b: { readonly config: object; readonly tensors: Record<string, Rows> };
  readonly weights: readonly [number, number];
  readonly density: number;
  readonly combined: Record<string, Record<string, Rows>>;
}
/** Made by make_combined.py. */
const reference: Reference = JSON.parse(readFileSync(join(import.meta.dirname, "combined.json"), "utf8"));

const at = temporaryFolder();

function inputs(): { path: string; weight: number }[] {
  putAdapter(at("a"), reference.a.config, reference.a.tensors);
  putAdapter(at("b"), reference.b.config, reference.b.tensors);
  return [
    { path: at("a"), weight: reference.weights[0] },
    { path: at("b"), weight: reference.weights[1] },
  ];
}

/** Σ weight · ΔW of a module. */
function sum(adapters: readonly { path: string; weight: number }[], module: string): number[] {
  return adapters
    .map(({ path, weight }) => {
      const found = readLora(path).modules.get(module);
      return found && updateOf(found).map((value) => weight * value);
    })
    .filter((each) => each !== undefined)
    .reduce((x, y) => x.map((value, i) => value + y[i]!));
}

test.each(Object.keys(reference.combined))("%s gives PEFT's updates", (name) => {
  const [type, sign] = name.split(" ") as [string, "total"];
  const prunes = /ties|prune/.test(type);
  const options = prunes ? { density: reference.density, majoritySign: sign } : {};
  combineAdapters({ adapters: inputs(), type, out: at("out"), ...options });
  const { modules } = readLora(at("out"));
  expect([...modules.keys()].toSorted((a, b) => (a < b ? -1 : 1))).toEqual(["first", "second", "table"]);
  for (const [module, rows] of Object.entries(reference.combined[name]!)) {
    expect(largestDifference(updateOf(modules.get(module)!), rows.flat()), module).toBeLessThan(1e-5);
  }
});

test("cat is the exact sum, with PEFT's shapes and configuration", () => {
  const adapters = inputs();
  expect(combineAdapters({ adapters, out: at("out") })).toMatchObject({ type: "cat", r: 4, modules: 3, energy: null });
  const { modules } = readLora(at("out"));
  for (const [module, factors] of modules) {
    expect(largestDifference(updateOf(factors), sum(adapters, module))).toBeLessThan(1e-6);
  }
  expect(readJsonObject(at("out/adapter_config.json"))).toMatchObject({
    r: 4,
    lora_alpha: 4,
    rank_pattern: {},
    target_modules: ["first", "second", "table"],
  });
});

test("svd at full rank is the exact sum; dare keeps about its density and scales up, by its seed alone", () => {
  const adapters = inputs();
  expect(combineAdapters({ adapters, type: "svd", rank: 4, out: at("out") }).energy).toBeCloseTo(1, 12);
  for (const [module, factors] of readLora(at("out")).modules) {
    expect(largestDifference(updateOf(factors), sum(adapters, module))).toBeLessThan(2e-6);
  }
  const dare = (out: string, seed: number): readonly number[] => {
    combineAdapters({
      adapters: adapters.slice(1),
      type: "dare_linear_svd",
      rank: 6,
      density: 0.5,
      seed,
      out: at(out),
    });
    return updateOf(readLora(at(out)).modules.get("first")!);
  };
  const first = dare("first", 1);
  const whole = sum(adapters.slice(1), "first");
  const off = first.map((value, i) => Math.min(Math.abs(value), Math.abs(value - 2 * whole[i]!)));
  expect(Math.max(...off)).toBeLessThan(1e-5);
  expect(first.filter((value) => Math.abs(value) < 1e-5).length).toBeGreaterThan(6);
  expect(dare("again", 1)).toEqual(first);
  expect(dare("other", 2)).not.toEqual(first);
});

test("every type works on adapters with their own targets", () => {
  const adapters = inputs();
  for (const type of COMBINATIONS) {
    const density = /ties|dare|prune/.test(type) ? { density: 0.5 } : {};
    combineAdapters({ adapters, type, out: at("out"), ...density });
    expect(readLora(at("out")).modules.size).toBe(3);
  }
});

test("problems are named", () => {
  const adapters = inputs();
  const out = at("out");
  expect(() => combineAdapters({ adapters, type: "mean", out })).toThrow(
    "--type mean is not known. Known: cat, linear",
  );
  expect(() => combineAdapters({ adapters, type: "ties", out })).toThrow("--density: found none");
  expect(() => combineAdapters({ adapters, type: "cat", density: 1, out })).toThrow("cat prunes nothing");
  expect(() => combineAdapters({ adapters, type: "cat", rank: 4, out })).toThrow("--r fits types that end in svd");
  putAdapter(
    at("c"),
    { peft_type: "LORA", r: 1, target_modules: ["first"] },
    {
      "base_model.model.first.lora_A.weight": randomRows(1, 6, 1),
      "base_model.model.first.lora_B.weight": randomRows(5, 1, 2),
    },
  );
  const mixed = [adapters[0]!, { path: at("c"), weight: 1 }];
  expect(() => combineAdapters({ adapters: mixed, type: "linear", out })).toThrow("needs one rank everywhere");
  putAdapter(
    at("d"),
    { peft_type: "LORA", r: 1, target_modules: ["first"] },
    {
      "base_model.model.first.lora_A.weight": randomRows(1, 9, 1),
      "base_model.model.first.lora_B.weight": randomRows(5, 1, 2),
    },
  );
  expect(() => combineAdapters({ adapters: [adapters[0]!, { path: at("d"), weight: 1 }], out })).toThrow(
    "first: [5, 6] and [5, 9]",
  );
  putAdapter(
    at("e"),
    { peft_type: "LORA", r: 1, target_modules: ["first"] },
    {
      "base_model.model.first.lora_A.weight": randomRows(1, 9, 1),
      "base_model.model.score.weight": randomRows(5, 1, 2),
    },
  );
  expect(() => readLora(at("e"))).toThrow("first: has only A");
});

test("resize: larger ranks are exact, smaller ones the best there is, energies bound each module", () => {
  putAdapter(
    at("in"),
    { peft_type: "LORA", r: 6, lora_alpha: 12, use_rslora: true, target_modules: ["q", "v"], alpha_pattern: { v: 3 } },
    Object.fromEntries(
      ["layers.0.q", "layers.1.q", "layers.0.v"].flatMap((module, i) => [
        [`base_model.model.${module}.lora_A.weight`, randomRows(6, 20, i)],
        [`base_model.model.${module}.lora_B.weight`, randomRows(16, 6, i + 10)],
      ]),
    ),
  );
  const before = readLora(at("in")).modules;
  expect(before.get("layers.0.v")!.scaling).toBeCloseTo(3 / Math.sqrt(6), 12);
  const larger = resizeAdapter({ adapter: at("in"), rank: 9, out: at("larger") });
  expect(larger.energy).toBeCloseTo(1, 12);
  for (const [module, factors] of readLora(at("larger")).modules) {
    expect(factors.rank).toBe(9);
    expect(largestDifference(updateOf(factors), updateOf(before.get(module)!))).toBeLessThan(2e-5);
  }
  const half = resizeAdapter({ adapter: at("in"), energy: 0.8, out: at("half") });
  expect(half.leastEnergy).toBeGreaterThanOrEqual(0.8);
  expect(half.parameters).toBeLessThan(half.parametersBefore);
  const smaller = readLora(at("half"));
  for (const [module, factors] of smaller.modules) {
    const [x, y] = [updateOf(before.get(module)!), updateOf(factors)];
    const norm = (values: readonly number[]): number => values.reduce((total, value) => total + value * value, 0);
    const lost = norm(x.map((value, i) => value - y[i]!));
    expect(lost / norm(x)).toBeLessThanOrEqual(0.2);
    expect(lost / norm(x)).toBeCloseTo(1 - norm(y) / norm(x), 6); // a projection
  }
  expect(() => resizeAdapter({ adapter: at("in"), out: at("x") })).toThrow("either --r");
  expect(() => resizeAdapter({ adapter: at("in"), energy: 2, out: at("x") })).toThrow("--energy: found 2");
});
