import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { combineImageLora, convertImageLora, resizeImageLora } from "../../src/convert/image-lora.ts";
import type { ImageAdapter } from "../../src/diffusion/adapter.ts";
import { readOwn } from "../../src/diffusion/component.ts";
import { imageLoraInfo } from "../../src/diffusion/lora-info.ts";
import { kohyaName, kohyaTable, layersOf } from "../../src/diffusion/lora-names.ts";
import { productOf } from "../../src/diffusion/lora-updates.ts";
import { mergeImageLora } from "../../src/diffusion/merge-lora.ts";
import { openPipeline } from "../../src/diffusion/pipeline.ts";
import { readImageLora } from "../../src/diffusion/read-lora.ts";
import { openSafetensors, readTensors, writeSafetensors } from "../../src/files/safetensors.ts";
import { toFloat32 } from "../../src/tensor/convert.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { sizeOf } from "../../src/tensor/shape.ts";
import { type FloatTensor, floatTensor } from "../../src/tensor/tensor.ts";

const MODEL = join(import.meta.dirname, "pipelines/sd1");
const XL = join(import.meta.dirname, "pipelines/xl");
const KOHYA = join(MODEL, "lora.safetensors");
const pipeline = openPipeline(MODEL);
const folder = mkdtempSync(join(tmpdir(), "lowrank-lora-files-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const random = randomStream(3);
function normal(...shape: number[]): FloatTensor {
  return floatTensor(
    shape,
    Float32Array.from({ length: sizeOf(shape) }, () => random.normal()),
  );
}

let files = 0;
function written(tensors: Record<string, FloatTensor>, metadata: Record<string, string> = {}): string {
  const path = join(folder, `${files++}.safetensors`);
  writeSafetensors(path, Object.entries(tensors), metadata);
  return path;
}

function updateOf(adapter: ImageAdapter, component: string, module: string): Float32Array {
  return productOf(adapter.get(component)!.get(module)!);
}

function near(found: ArrayLike<number>, wanted: ArrayLike<number>, tolerance = 1e-5): void {
  expect(found.length).toBe(wanted.length);
  let off = 0;
  for (let i = 0; i < found.length; i++) off = Math.max(off, Math.abs(found[i]! - wanted[i]!));
  expect(off).toBeLessThan(tolerance);
}

const TO_Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"; // [8, 8]
const TO_K = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"; // [8, 8]
const CONV = "down_blocks.0.resnets.0.conv1"; // [8, 8, 3, 3]
const kohya = (module: string): string => kohyaName(pipeline, "unet", module);

test("kohya to diffusers and back keeps every value", () => {
  const diffusers = join(folder, "diffusers");
  const back = join(folder, "back.safetensors");
  const result = convertImageLora({ adapter: KOHYA, to: "diffusers", out: diffusers, model: MODEL });
  expect(result.matched).toBe(result.tensors);
  convertImageLora({ adapter: diffusers, to: "kohya", out: back, model: MODEL });
  const [before, after] = [readTensors(openSafetensors(KOHYA)), readTensors(openSafetensors(back))];
  expect(new Set(after.keys())).toEqual(new Set(before.keys()));
  for (const [key, tensor] of before) expect(after.get(key)!.data, key).toEqual(toFloat32(tensor));
});

test("every spelling of a layer's halves is the same branch", () => {
  const [A, B] = [normal(2, 8), normal(8, 2)];
  const forms: Record<string, FloatTensor>[] = [
    { [`${kohya(TO_Q)}.lora_down.weight`]: A, [`${kohya(TO_Q)}.lora_up.weight`]: B },
    {
      [`${kohya(TO_Q)}.lora_down.weight`]: A,
      [`${kohya(TO_Q)}.lora_up.weight`]: B,
      [`${kohya(TO_Q)}.alpha`]: floatTensor([]),
    },
    { [`unet.${TO_Q}.lora_A.weight`]: A, [`unet.${TO_Q}.lora_B.weight`]: B },
    { [`unet.${TO_Q}.lora_A.default.weight`]: A, [`unet.${TO_Q}.lora_B.default.weight`]: B },
    { [`unet.${TO_Q}.lora.down.weight`]: A, [`unet.${TO_Q}.lora.up.weight`]: B },
    { [`base_model.model.${TO_Q}.lora_A.weight`]: A, [`base_model.model.${TO_Q}.lora_B.weight`]: B },
    ...["", "unet."].map((start) => {
      const at = `${start}${TO_Q.replace(".to_q", ".processor.to_q_lora")}`;
      return { [`${at}.down.weight`]: A, [`${at}.up.weight`]: B };
    }),
  ];
  const wanted = productOf({ A, B, scale: 1 });
  for (const form of forms) near(updateOf(readImageLora(written(form), pipeline).adapter, "unet", TO_Q), wanted);
  const text = "text_model.encoder.layers.0.self_attn.q_proj";
  for (const key of [
    "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_@.weight",
    "lora_te1_encoder_layers_0_self_attn_q_proj.lora_@.weight",
    `text_encoder.${text}.lora_linear_layer.@.weight`,
    `text_encoder.${text.replace("text_model.", "")}.lora_linear_layer.@.weight`,
  ]) {
    const form = { [key.replace("@", "down")]: A, [key.replace("@", "up")]: B };
    near(updateOf(readImageLora(written(form), pipeline).adapter, "text_encoder", text), wanted);
  }
});

test("alpha stands in a tensor or in the header, with patterns", () => {
  const [A, B] = [normal(2, 8), normal(8, 2)];
  const tensors = { [`unet.${TO_Q}.lora_A.weight`]: A, [`unet.${TO_Q}.lora_B.weight`]: B };
  const header = (fields: object): Record<string, string> => ({ lora_adapter_metadata: JSON.stringify(fields) });
  const scaleOf = (metadata: Record<string, string>): number =>
    readImageLora(written(tensors, metadata), pipeline).adapter.get("unet")!.get(TO_Q)!.scale;
  expect(scaleOf({})).toBe(1);
  expect(scaleOf(header({ "unet.r": 2, "unet.lora_alpha": 6 }))).toBe(3);
  expect(scaleOf(header({ "unet.r": 2, "unet.lora_alpha": 6, "unet.alpha_pattern": { to_q: 1 } }))).toBe(0.5);
});

test("LoHa, LoKr, Tucker and whole differences by their definitions", () => {
  const at = kohya(TO_Q);
  const [a, b, c, d] = [normal(8, 2), normal(2, 8), normal(8, 2), normal(2, 8)];
  const product = (x: FloatTensor, y: FloatTensor): Float32Array => productOf({ A: y, B: x, scale: 1 });
  const alpha = floatTensor([], Float32Array.of(3));
  const loha = readImageLora(
    written({
      [`${at}.hada_w1_a`]: a,
      [`${at}.hada_w1_b`]: b,
      [`${at}.hada_w2_a`]: c,
      [`${at}.hada_w2_b`]: d,
      [`${at}.alpha`]: alpha,
    }),
    pipeline,
  );
  expect(loha.kinds).toEqual(["loha"]);
  const second = product(c, d);
  near(
    updateOf(loha.adapter, "unet", TO_Q),
    product(a, b).map((value, i) => value * second[i]! * 1.5),
  );

  const [w1, w2] = [normal(2, 4), normal(4, 2)];
  const kron = (s: number): Float32Array =>
    Float32Array.from({ length: 64 }, (_, i) => {
      const [row, column] = [Math.floor(i / 8), i % 8];
      return s * w1.data[Math.floor(row / 4) * 4 + Math.floor(column / 2)]! * w2.data[(row % 4) * 2 + (column % 2)]!;
    });
  const whole = readImageLora(
    written({ [`${at}.lokr_w1`]: w1, [`${at}.lokr_w2`]: w2, [`${at}.alpha`]: alpha }),
    pipeline,
  );
  near(updateOf(whole.adapter, "unet", TO_Q), kron(1));

  // Both factors decomposed: kron(a·b, c·d), α over the second one's rank.
  const [a1, b1, a2, b2] = [normal(2, 3), normal(3, 4), normal(4, 2), normal(2, 2)];
  const decomposed = readImageLora(
    written({
      [`${at}.lokr_w1_a`]: a1,
      [`${at}.lokr_w1_b`]: b1,
      [`${at}.lokr_w2_a`]: a2,
      [`${at}.lokr_w2_b`]: b2,
      [`${at}.alpha`]: alpha,
    }),
    pipeline,
  );
  const [left, right] = [product(a1, b1), product(a2, b2)];
  near(
    updateOf(decomposed.adapter, "unet", TO_Q),
    Array.from({ length: 64 }, (_, i) => {
      const [row, column] = [Math.floor(i / 8), i % 8];
      const outer = left[Math.floor(row / 4) * 4 + Math.floor(column / 2)]!;
      return 1.5 * outer * right[(row % 4) * 2 + (column % 2)]!;
    }),
  );

  /** Σ core[i, j, tap]·a[i, p]·b[j, q] at [p, q, tap]: LyCORIS' `make_weight_cp`. */
  const through =
    (core: FloatTensor, outer: FloatTensor, inner: FloatTensor) => (p: number, q: number, tap: number) => {
      let sum = 0;
      for (let i = 0; i < 2; i++) {
        for (let j = 0; j < 2; j++) {
          const taps = core.data[(i * 2 + j) * 9 + tap]!;
          sum += taps * outer.data[i * outer.shape[1]! + p]! * inner.data[j * inner.shape[1]! + q]!;
        }
      }
      return sum;
    };
  const cores = [normal(2, 2, 3, 3), normal(2, 2, 3, 3)] as const;
  const outers = [normal(2, 8), normal(2, 8)] as const;
  const inners = [normal(2, 8), normal(2, 8)] as const;
  const convLoha: Record<string, FloatTensor> = { [`${kohya(CONV)}.alpha`]: alpha };
  for (const n of [0, 1] as const) {
    convLoha[`${kohya(CONV)}.hada_t${n + 1}`] = cores[n];
    convLoha[`${kohya(CONV)}.hada_w${n + 1}_a`] = outers[n];
    convLoha[`${kohya(CONV)}.hada_w${n + 1}_b`] = inners[n];
  }
  const halves = [0, 1].map((n) => through(cores[n]!, outers[n]!, inners[n]!));
  near(
    updateOf(readImageLora(written(convLoha), pipeline).adapter, "unet", CONV),
    Array.from({ length: 576 }, (_, i) => {
      const place = [Math.floor(i / 72), Math.floor(i / 9) % 8, i % 9] as const;
      return 1.5 * halves[0]!(...place) * halves[1]!(...place);
    }),
  );

  // A convolution's second factor through a core, the first one whole.
  const [core, outer, inner] = [normal(2, 2, 3, 3), normal(2, 4), normal(2, 2)];
  const convLokr = readImageLora(
    written({
      [`${kohya(CONV)}.lokr_w1`]: w1,
      [`${kohya(CONV)}.lokr_t2`]: core,
      [`${kohya(CONV)}.lokr_w2_a`]: outer,
      [`${kohya(CONV)}.lokr_w2_b`]: inner,
      [`${kohya(CONV)}.alpha`]: alpha,
    }),
    pipeline,
  );
  expect(convLokr.kinds).toEqual(["lokr"]);
  const small = through(core, outer, inner);
  near(
    updateOf(convLokr.adapter, "unet", CONV),
    Array.from({ length: 576 }, (_, i) => {
      const [o, c, tap] = [Math.floor(i / 72), Math.floor(i / 9) % 8, i % 9];
      return 1.5 * w1.data[Math.floor(o / 4) * 4 + Math.floor(c / 2)]! * small(o % 4, c % 2, tap);
    }),
  );

  // A convolution through a core: ΔW[o, i, k, l] = Σ up[o, p]·mid[p, r, k, l]·down[r, i].
  const [down, mid, up] = [normal(2, 8, 1, 1), normal(2, 2, 3, 3), normal(8, 2, 1, 1)];
  const locon = readImageLora(
    written({
      [`${kohya(CONV)}.lora_down.weight`]: down,
      [`${kohya(CONV)}.lora_mid.weight`]: mid,
      [`${kohya(CONV)}.lora_up.weight`]: up,
    }),
    pipeline,
  );
  expect(locon.kinds).toEqual(["locon"]);
  const wanted = Float32Array.from({ length: 576 }, (_, at2) => {
    const [o, i, tap] = [Math.floor(at2 / 72), Math.floor(at2 / 9) % 8, at2 % 9];
    let sum = 0;
    for (let p = 0; p < 2; p++) {
      for (let r = 0; r < 2; r++) sum += up.data[o * 2 + p]! * mid.data[(p * 2 + r) * 9 + tap]! * down.data[r * 8 + i]!;
    }
    return sum;
  });
  near(updateOf(locon.adapter, "unet", CONV), wanted);

  const diff = normal(8, 8, 3, 3);
  near(updateOf(readImageLora(written({ [`${kohya(CONV)}.diff`]: diff }), pipeline).adapter, "unet", CONV), diff.data);
});

test("DoRA: the direction of W + ΔW at the file's magnitudes", () => {
  const [A, B, m] = [normal(2, 8), normal(8, 2), normal(8, 1)];
  const at = kohya(TO_Q);
  const path = written({ [`${at}.lora_down.weight`]: A, [`${at}.lora_up.weight`]: B, [`${at}.dora_scale`]: m });
  const read = readImageLora(path, pipeline);
  expect(read.kinds).toEqual(["dora"]);
  const W = readOwn(pipeline.unet, `${TO_Q}.weight`).data;
  const delta = productOf({ A, B, scale: 1 });
  const wanted = W.map((value, i) => {
    const row = Math.floor(i / 8);
    const norm = Math.hypot(...Array.from({ length: 8 }, (_, j) => W[row * 8 + j]! + delta[row * 8 + j]!));
    return (m.data[row]! * (value + delta[i]!)) / norm - value;
  });
  near(updateOf(read.adapter, "unet", TO_Q), wanted);
});

test("Stable Diffusion XL's layers are known by the first checkpoints' names", () => {
  const xl = openPipeline(XL);
  const table = kohyaTable(xl);
  for (const module of layersOf(xl.unet.trace)) {
    expect(table.get(kohyaName(xl, "unet", module)), module).toEqual({ component: "unet", module });
  }
  const names = layersOf(xl.unet.trace).map((module) => kohyaName(xl, "unet", module));
  expect(new Set(names).size).toBe(names.length);
  expect(names.filter((name) => /(down|up|mid)_block/.test(name))).toEqual([]);
});

test("what matches no layer is told; nothing at all, or another size, is an error", () => {
  const [A, B] = [normal(2, 8), normal(8, 2)];
  const known = { [`${kohya(TO_Q)}.lora_down.weight`]: A, [`${kohya(TO_Q)}.lora_up.weight`]: B };
  const read = readImageLora(written({ ...known, "lora_unet_other.lora_up.weight": B }), pipeline);
  expect([read.matched, read.tensors, read.unmatched]).toEqual([2, 3, ["lora_unet_other.lora_up.weight"]]);
  expect(() => readImageLora(written({ "a.lora_up.weight": B }), pipeline)).toThrow(/none of its 1 tensors match/);
  const wide = { [`${kohya(TO_K)}.lora_down.weight`]: normal(2, 768), [`${kohya(TO_K)}.lora_up.weight`]: B };
  expect(() => readImageLora(written(wide), pipeline)).toThrow(/768 wide \(Stable Diffusion 1\); this one's is 8/);
  const half = { [`${kohya(TO_Q)}.lora_down.weight`]: A };
  expect(() => readImageLora(written(half), pipeline)).toThrow(/has only its down half/);
});

test("combined by ranks: the weighted sum of the updates; merged and resized likewise", () => {
  const other = written({
    [`unet.${TO_Q}.lora_A.weight`]: normal(3, 8),
    [`unet.${TO_Q}.lora_B.weight`]: normal(8, 3),
    [`unet.${CONV}.lora_A.weight`]: normal(2, 8, 3, 3),
    [`unet.${CONV}.lora_B.weight`]: normal(8, 2, 1, 1),
  });
  const out = join(folder, "both.safetensors");
  combineImageLora({
    adapters: [
      { path: KOHYA, weight: 0.7 },
      { path: other, weight: -0.5 },
    ],
    out,
    model: MODEL,
  });
  const [first, second, both] = [KOHYA, other, out].map((path) => readImageLora(path, pipeline).adapter) as [
    ImageAdapter,
    ImageAdapter,
    ImageAdapter,
  ];
  const b = updateOf(second, "unet", TO_Q);
  const sum = updateOf(first, "unet", TO_Q).map((value, i) => 0.7 * value - 0.5 * b[i]!);
  near(updateOf(both, "unet", TO_Q), sum);
  near(
    updateOf(both, "unet", CONV),
    updateOf(second, "unet", CONV).map((value, i) => {
      const own = first.get("unet")!.get(CONV);
      return (own ? 0.7 * productOf(own)[i]! : 0) - 0.5 * value;
    }),
  );

  const small = join(folder, "small");
  const resized = resizeImageLora({ adapter: out, rank: 8, out: small, model: MODEL });
  expect(resized.energy).toBeGreaterThan(0.999);
  near(updateOf(readImageLora(small, pipeline).adapter, "unet", TO_Q), sum, 1e-4);

  const merged = join(folder, "merged");
  mergeImageLora(pipeline, [[both, 2]], merged);
  const name = `${TO_Q}.weight`;
  const before = readOwn(pipeline.unet, name).data;
  near(
    readOwn(openPipeline(merged).unet, name).data,
    before.map((value, i) => value + 2 * sum[i]!),
  );
});

test("info tells kind, base, rank, alpha, triggers and hash without the base", () => {
  const path = written(
    {
      [`${kohya(TO_K)}.lora_down.weight`]: normal(4, 768),
      [`${kohya(TO_K)}.lora_up.weight`]: normal(8, 4),
      [`${kohya(TO_K)}.alpha`]: floatTensor([], Float32Array.of(2)),
    },
    { ss_tag_frequency: JSON.stringify({ "10_zig": { zig: 10, cat: 3 }, more: { cat: 4 } }) },
  );
  const info = imageLoraInfo(path);
  expect(info).toMatchObject({
    type: "LORA",
    format: "kohya",
    r: 4,
    alpha: 2,
    modules: 1,
    targetModules: { unet: 1 },
    baseModel: "Stable Diffusion 1",
    triggers: ["zig", "cat"],
    unknown: [],
  });
  expect(info.sha256).toMatch(/^[0-9a-f]{64}$/);
});
