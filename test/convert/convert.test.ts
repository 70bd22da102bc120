import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { convertAdapter } from "../../src/convert/convert.ts";
import { readLora } from "../../src/convert/lora-file.ts";
import { openGguf } from "../../src/files/gguf.ts";
import { openSafetensors } from "../../src/files/safetensors.ts";
import { largestDifference, putAdapter, type Rows, randomRows, temporaryFolder, updateOf } from "./support.ts";

const at = temporaryFolder();
const file = (name: string): string => join(import.meta.dirname, "files", name);
/** Made by make_converted.py, as the peers compute them. */
const updates: Readonly<Record<string, Rows>> = JSON.parse(readFileSync(file("updates.json"), "utf8"));

function putBase(fields: object): string {
  mkdirSync(at("base"), { recursive: true });
  writeFileSync(at("base/config.json"), JSON.stringify(fields));
  return at("base");
}

const LLAMA = {
  model_type: "llama",
  vocab_size: 30,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-5,
  max_position_embeddings: 32,
  hidden_act: "silu",
};

/** A PEFT folder with scalings and ranks of its own in each module. */
function putPeft(): string {
  const at0 = "base_model.model.model.layers.0";
  putAdapter(
    at("peft"),
    {
      peft_type: "LORA",
      r: 4,
      lora_alpha: 6,
      target_modules: ["q_proj", "k_proj", "down_proj", "embed_tokens"],
      rank_pattern: { k_proj: 2 },
      alpha_pattern: { down_proj: 5 },
      base_model_name_or_path: "org/base",
    },
    {
      [`${at0}.self_attn.q_proj.lora_A.weight`]: randomRows(4, 12, 1),
      [`${at0}.self_attn.q_proj.lora_B.weight`]: randomRows(16, 4, 2),
      [`${at0}.self_attn.k_proj.lora_A.weight`]: randomRows(2, 12, 3),
      [`${at0}.self_attn.k_proj.lora_B.weight`]: randomRows(8, 2, 4),
      [`${at0}.mlp.down_proj.lora_A.weight`]: randomRows(4, 20, 5),
      [`${at0}.mlp.down_proj.lora_B.weight`]: randomRows(12, 4, 6),
      "base_model.model.model.embed_tokens.lora_embedding_A": randomRows(4, 30, 7),
      "base_model.model.model.embed_tokens.lora_embedding_B": randomRows(12, 4, 8),
    },
  );
  return at("peft");
}

function expectSame(found: string, wanted: string): void {
  const [a, b] = [readLora(found).modules, readLora(wanted).modules];
  expect([...a.keys()].toSorted((x, y) => (x < y ? -1 : 1))).toEqual(
    [...b.keys()].toSorted((x, y) => (x < y ? -1 : 1)),
  );
  for (const [module, factors] of a) {
    expect(factors.embedding).toBe(b.get(module)!.embedding);
    expect(largestDifference(updateOf(factors), updateOf(b.get(module)!)), module).toBeLessThan(1e-5);
  }
}

test("loralib: fused layers become block diagonals, exactly", () => {
  const result = convertAdapter({ adapter: file("loralib.pt"), to: "peft", out: at("out"), alpha: 6 });
  expect(result).toMatchObject({ from: "loralib", r: 4, modules: 2, left: ["module.transformer.ln_f.weight"] });
  const { modules, config } = readLora(at("out"));
  expect(config).toMatchObject({ target_modules: ["c_attn", "query"], fan_in_fan_out: true });
  for (const end of ["c_attn", "query"]) {
    expect(updateOf(modules.get(`transformer.h.0.attn.${end}`)!)).toEqual(updates[end]!.flat());
  }
  const input = { adapter: file("loralib.pt"), to: "peft", out: at("x") } as const;
  expect(() => convertAdapter(input)).toThrow("Give the one it was trained with: --alpha");
  expect(() => convertAdapter({ ...input, alpha: 6, enableLora: [true, true, true] })).toThrow("2 slices are adapted");
});

test("GGUF: what gguf-py writes is read, rows of q and k in Hugging Face's order", () => {
  const model = putBase(LLAMA);
  const result = convertAdapter({ adapter: file("llama.gguf"), to: "peft", out: at("out"), model });
  expect(result).toMatchObject({ from: "gguf", r: 2, modules: 4 });
  const { modules } = readLora(at("out"));
  for (const [module, factors] of modules) expect(updateOf(factors)).toEqual(updates[module]!.flat());
});

test("PEFT to GGUF and back", () => {
  const [peft, model] = [putPeft(), putBase(LLAMA)];
  convertAdapter({ adapter: peft, to: "gguf", out: at("a.gguf"), model });
  const { metadata, tensors } = openGguf(at("a.gguf"));
  expect(Object.fromEntries(metadata)).toMatchObject({
    "general.architecture": "llama",
    "general.type": "adapter",
    "adapter.type": "lora",
    "adapter.lora.alpha": 6,
  });
  expect(tensors.get("blk.0.attn_q.weight.lora_b")!.shape).toEqual([16, 4]);
  expect(tensors.get("token_embd.weight.lora_a")!.shape).toEqual([30, 4]);
  convertAdapter({ adapter: at("a.gguf"), to: "peft", out: at("back"), model });
  expectSame(at("back"), peft);
});

test("PEFT to mlx-lm and back", () => {
  const peft = putPeft();
  convertAdapter({ adapter: peft, to: "mlx", out: at("mlx") });
  const config = JSON.parse(readFileSync(at("mlx/adapter_config.json"), "utf8"));
  expect(config).toMatchObject({ fine_tune_type: "lora", num_layers: -1, lora_parameters: { rank: 4, scale: 1.5 } });
  expect(config.lora_parameters.keys).toEqual([
    "mlp.down_proj",
    "model.embed_tokens",
    "self_attn.k_proj",
    "self_attn.q_proj",
  ]);
  const { tensors } = openSafetensors(at("mlx/adapters.safetensors"));
  expect(tensors.get("model.layers.0.self_attn.k_proj.lora_a")!.shape).toEqual([12, 4]);
  convertAdapter({ adapter: at("mlx"), to: "peft", out: at("back") });
  expectSame(at("back"), peft);
});

test("problems are named", () => {
  const peft = putPeft();
  const to = { to: "gguf", out: at("x.gguf") } as const;
  expect(() => convertAdapter({ adapter: peft, ...to })).toThrow("Give its folder: --model DIR");
  expect(() => convertAdapter({ adapter: peft, ...to, model: putBase({ model_type: "bert" }) })).toThrow(
    'of a "bert" model',
  );
  expect(() => convertAdapter({ adapter: peft, ...to, model: putBase({ model_type: "gpt2" }) })).toThrow(
    "has no place in a GGUF adapter of gpt2",
  );
  expect(() => convertAdapter({ adapter: peft, ...to, model: putBase({ ...LLAMA, num_attention_heads: 5 }) })).toThrow(
    "5 heads cannot share",
  );
  // llama.cpp would end the process.
  expect(() =>
    convertAdapter({ adapter: peft, ...to, model: putBase({ ...LLAMA, tie_word_embeddings: true }) }),
  ).toThrow("model.embed_tokens: this llama base has one matrix for embedding and head");
  const model = putBase({ model_type: "qwen2" });
  expect(() => convertAdapter({ adapter: file("llama.gguf"), to: "peft", out: at("x"), model })).toThrow(
    "is an adapter of a llama model",
  );
  expect(() => convertAdapter({ adapter: at("nothing"), to: "peft", out: at("x") })).toThrow("no such file or folder");
});
