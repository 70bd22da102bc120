/**
 * Memory of training a 1B-class Llama (TinyLlama's shape) with random weights, made on the spot, at 1 x 512.
 *
 *   node bench/one-billion.mjs [--precision int4] [--quant-type nf4] [--steps 2] [--folder DIR]
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { writeSafetensors } from "../dist/files/safetensors.js";
import { randomStream } from "../dist/tensor/random.js";

const { values } = parseArgs({
  options: {
    precision: { type: "string", default: "int4" },
    "quant-type": { type: "string", default: "int4" },
    steps: { type: "string", default: "2" },
    folder: { type: "string", default: join(tmpdir(), "lowrank-one-billion") },
  },
});

const [V, C, I, LAYERS, HEADS, KV] = [32000, 2048, 5632, 22, 32, 4];
const LENGTH = 512;

/** Patterns of bfloat16 numbers, normal with deviation 0.02: one draw repeated at shifting places, as quick as copying. */
const noise = (() => {
  const random = randomStream(1);
  const words = new Uint32Array(Float32Array.from({ length: 1 << 20 }, () => random.normal() * 0.02).buffer);
  return Uint16Array.from(words, (word) => word >>> 16);
})();

function numbers(count, shift) {
  const out = new Uint16Array(count);
  for (let at = 0; at < count; ) {
    const from = (shift * 7919 + at) % (noise.length - 1);
    const part = noise.subarray(from, from + Math.min(noise.length - from, count - at));
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function makeModel(folder) {
  mkdirSync(folder, { recursive: true });
  const tensors = [];
  const add = (name, shape) => {
    const shift = tensors.length;
    const count = shape.reduce((product, extent) => product * extent);
    const data = () => (shape.length === 1 ? new Uint16Array(count).fill(0x3f80) : numbers(count, shift));
    tensors.push([name, { dtype: "bf16", shape, data }]);
  };
  add("model.embed_tokens.weight", [V, C]);
  add("lm_head.weight", [V, C]);
  add("model.norm.weight", [C]);
  for (let layer = 0; layer < LAYERS; layer++) {
    const at = `model.layers.${layer}`;
    add(`${at}.input_layernorm.weight`, [C]);
    add(`${at}.post_attention_layernorm.weight`, [C]);
    add(`${at}.self_attn.q_proj.weight`, [C, C]);
    add(`${at}.self_attn.k_proj.weight`, [(C / HEADS) * KV, C]);
    add(`${at}.self_attn.v_proj.weight`, [(C / HEADS) * KV, C]);
    add(`${at}.self_attn.o_proj.weight`, [C, C]);
    add(`${at}.mlp.gate_proj.weight`, [I, C]);
    add(`${at}.mlp.up_proj.weight`, [I, C]);
    add(`${at}.mlp.down_proj.weight`, [C, I]);
  }
  writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
  const config = {
    model_type: "llama",
    architectures: ["LlamaForCausalLM"],
    vocab_size: V,
    hidden_size: C,
    intermediate_size: I,
    num_hidden_layers: LAYERS,
    num_attention_heads: HEADS,
    num_key_value_heads: KV,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    rope_parameters: { rope_type: "default", rope_theta: 10000 },
    tie_word_embeddings: false,
    eos_token_id: 2,
  };
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
}

const model = join(values.folder, "model");
if (!existsSync(join(model, "model.safetensors"))) makeModel(model);
const data = join(values.folder, "rows.jsonl");
const row = (r) => {
  const ids = Array.from({ length: LENGTH }, (_, i) => (i * 31 + r * 17) % V);
  return JSON.stringify({ input_ids: ids, labels: ids });
};
writeFileSync(data, `${[0, 1, 2, 3].map(row).join("\n")}\n`);

/** One run of the command line, and the most memory that it held. */
function run(name) {
  const cli = new URL("../dist/cli/main.js", import.meta.url).pathname;
  const out = join(values.folder, `out-${name}-${process.pid}`);
  const args = [
    "train",
    "--model",
    model,
    "--data",
    data,
    "--out",
    out,
    "--batch-size",
    "1",
    "--max-steps",
    values.steps,
  ];
  args.push("--precision", values.precision, "--recompute", "full", "--json");
  if (values.precision === "int4") args.push("--quant-type", values["quant-type"]);
  const env = { ...process.env, LOWRANK_CACHE: join(values.folder, "cache") };
  const { stdout, status } = spawnSync(process.execPath, [cli, ...args], { env, stdio: ["ignore", "pipe", "inherit"] });
  if (status !== 0) throw new Error(`training ended with ${status}`);
  const events = String(stdout)
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  return events.at(-1);
}

const first = run("first"); // makes the cache file
const second = run("second");
const mib = (bytes) => Math.round(bytes / 2 ** 20);
console.log(
  JSON.stringify({
    precision: values.precision,
    quantType: values["quant-type"],
    makingMiB: mib(first.peakMemoryBytes),
    peakMiB: mib(second.peakMemoryBytes),
    tokensPerSecond: second.tokensPerSecond,
    loss: second.loss,
  }),
);
