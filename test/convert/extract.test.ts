import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { extractAdapter } from "../../src/convert/extract.ts";
import { readLora } from "../../src/convert/lora-file.ts";
import { openCheckpoint } from "../../src/files/checkpoint.ts";
import { readTensors, writeSafetensors } from "../../src/files/safetensors.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";
import { largestDifference, randomRows, temporaryFolder, updateOf } from "./support.ts";

const at = temporaryFolder();
const cases = join(import.meta.dirname, "../goldens/cases");

/** A copy of a case's model in which `changes` [name, columns, rank, turned] have been added to. */
function tune(base: string, out: string, changed: (name: string) => boolean): Map<string, number[]> {
  mkdirSync(out);
  copyFileSync(join(base, "config.json"), join(out, "config.json"));
  const deltas = new Map<string, number[]>();
  const tensors = [...readTensors(openCheckpoint(base))].map(([name, tensor]) => {
    if (!changed(name)) return [name, tensor] as const;
    const [rows, columns = 1] = tensor.shape as [number, number];
    const [B, A] = [randomRows(rows, 2, 5), randomRows(2, columns, 6)];
    const delta = Array.from({ length: rows * columns }, (_, i) => {
      const [row, column] = [Math.floor(i / columns), i % columns];
      return B[row]![0]! * A[0]![column]! + 0.5 * B[row]![1]! * A[1]![column]!;
    });
    deltas.set(name, delta);
    const data = (tensor.data as Float32Array).map((value, i) => value + delta[i]!);
    return [name, floatTensor(tensor.shape, data)] as const;
  });
  writeSafetensors(join(out, "model.safetensors"), tensors);
  return deltas;
}

test("a change of rank 2 is found exactly; what else changed is listed", () => {
  const base = join(cases, "llama-gqa-tied/model");
  const deltas = tune(base, at("tuned"), (name) =>
    /layers\.1\.self_attn\.(q|v)_proj\.weight|model\.norm\.weight/.test(name),
  );
  const result = extractAdapter({ base, tuned: at("tuned"), rank: 2, out: at("out") });
  expect(result).toMatchObject({ r: 2, left: ["model.norm.weight"] });
  expect(result.leastEnergy).toBeCloseTo(1, 9);
  const { modules, config } = readLora(at("out"));
  expect(config).toMatchObject({ target_modules: ["q_proj", "v_proj"], task_type: "CAUSAL_LM", r: 2, lora_alpha: 2 });
  const q = modules.get("model.layers.1.self_attn.q_proj")!;
  expect(largestDifference(updateOf(q), deltas.get("model.layers.1.self_attn.q_proj.weight")!)).toBeLessThan(1e-5);
  expect(Math.max(...updateOf(modules.get("model.layers.0.self_attn.q_proj")!))).toBe(0);
  const one = extractAdapter({ base, tuned: at("tuned"), rank: 1, out: at("one") });
  expect(one.energy).toBeLessThan(1);
  expect(one.energy).toBeGreaterThan(0.5);
});

test("GPT-2's turned matrices", () => {
  const base = join(cases, "gpt2-c_attn/model");
  const deltas = tune(base, at("tuned"), (name) => name.endsWith("h.0.attn.c_attn.weight"));
  expect(extractAdapter({ base, tuned: at("tuned"), rank: 3, out: at("out") }).energy).toBeCloseTo(1, 9);
  const { modules, config } = readLora(at("out"));
  expect(config.fan_in_fan_out).toBe(true);
  const found = modules.get("transformer.h.0.attn.c_attn")!;
  const update = updateOf(found);
  const turned = Array.from(
    { length: update.length },
    (_, i) => update[(i % found.out) * found.in + Math.floor(i / found.out)]!,
  );
  expect(largestDifference(turned, [...deltas.values()][0]!)).toBeLessThan(1e-5);
});

test("models that do not belong together, and equal ones", () => {
  const base = join(cases, "llama-gqa-tied/model");
  expect(() => extractAdapter({ base, tuned: base, rank: 2, out: at("out") })).toThrow("nothing to extract");
  const other = join(cases, "gpt2-c_attn/model");
  expect(() => extractAdapter({ base: other, tuned: base, rank: 2, out: at("out") })).toThrow("is no fine-tune of");
  expect(() => extractAdapter({ base, tuned: base, rank: 0, out: at("out") })).toThrow("--r: found 0");
});
