/**
 * Writes the embedded model's configuration (into embedded/gpt2-tiny) and a
 * folder with random weights to start pre-training from
 * (.cache/embedded/init, not committed). Seeded: the same bytes every time.
 *
 *     node scripts/embedded/init.mjs [--seed 42]
 */
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { seededRandom } from "./corpus.mjs";

const CONFIG = {
  activation_function: "gelu_new",
  architectures: ["GPT2LMHeadModel"],
  attn_pdrop: 0.0,
  bos_token_id: 0,
  embd_pdrop: 0.0,
  eos_token_id: 0,
  initializer_range: 0.02,
  layer_norm_epsilon: 1e-5,
  model_type: "gpt2",
  n_ctx: 256,
  n_embd: 240,
  n_head: 6,
  n_inner: null,
  n_layer: 6,
  n_positions: 256,
  pad_token_id: 0,
  reorder_and_upcast_attn: false,
  resid_pdrop: 0.0,
  scale_attn_by_inverse_layer_idx: false,
  scale_attn_weights: true,
  tie_word_embeddings: true,
  torch_dtype: "float16",
  use_cache: true,
  vocab_size: 4096,
};

const GENERATION_CONFIG = { _from_model_config: true, bos_token_id: 0, eos_token_id: 0, pad_token_id: 0 };

const TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

/** Every parameter with its shape and how it starts; the head is the word embedding. */
function parameters({ n_embd, n_layer, n_positions, vocab_size, initializer_range }) {
  const list = [];
  const add = (name, shape, start) => list.push({ name: `transformer.${name}`, shape, start });
  const norm = (name) => {
    add(`${name}.weight`, [n_embd], 1);
    add(`${name}.bias`, [n_embd], 0);
  };
  // GPT-2 stores its projections as Conv1D: [in, out].
  const projection = (name, inputs, outputs, deviation) => {
    add(`${name}.weight`, [inputs, outputs], { deviation });
    add(`${name}.bias`, [outputs], 0);
  };
  // The two projections that write to the residual stream start smaller, so
  // that its variance does not grow with depth.
  const residual = initializer_range / Math.sqrt(2 * n_layer);

  add("wte.weight", [vocab_size, n_embd], { deviation: initializer_range });
  add("wpe.weight", [n_positions, n_embd], { deviation: initializer_range });
  for (let layer = 0; layer < n_layer; layer++) {
    norm(`h.${layer}.ln_1`);
    projection(`h.${layer}.attn.c_attn`, n_embd, 3 * n_embd, initializer_range);
    projection(`h.${layer}.attn.c_proj`, n_embd, n_embd, residual);
    norm(`h.${layer}.ln_2`);
    projection(`h.${layer}.mlp.c_fc`, n_embd, 4 * n_embd, initializer_range);
    projection(`h.${layer}.mlp.c_proj`, 4 * n_embd, n_embd, residual);
  }
  norm("ln_f");
  return list;
}

/** Normal deviates by the Box-Muller transform, one a call. */
function normalDeviates(seed) {
  const random = seededRandom(seed);
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** The bytes of a safetensors file with freshly drawn float32 weights. */
function initialWeights(list, seed) {
  const normal = normalDeviates(seed);
  const header = { __metadata__: { format: "pt" } };
  const chunks = [];
  let offset = 0;
  let count = 0;
  for (const { name, shape, start } of list) {
    const size = shape.reduce((product, extent) => product * extent, 1);
    const values = new Float32Array(size);
    if (typeof start === "number") values.fill(start);
    else for (let i = 0; i < size; i++) values[i] = start.deviation * normal();
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + values.byteLength] };
    chunks.push(Buffer.from(values.buffer));
    offset += values.byteLength;
    count += size;
  }
  const json = JSON.stringify(header);
  // The data starts at a multiple of 8 bytes; the format pads its header with spaces.
  const text = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8, " "));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return { bytes: Buffer.concat([length, text, ...chunks]), count };
}

const { values } = parseArgs({ options: { seed: { type: "string", default: "42" } } });
const root = new URL("../../", import.meta.url);
const model = new URL("embedded/gpt2-tiny/", root);
const init = new URL(".cache/embedded/init/", root);

for (const folder of [model, init]) {
  mkdirSync(folder, { recursive: true });
  const config = folder === init ? { ...CONFIG, torch_dtype: "float32" } : CONFIG;
  writeFileSync(new URL("config.json", folder), `${JSON.stringify(config, null, 2)}\n`);
  writeFileSync(new URL("generation_config.json", folder), `${JSON.stringify(GENERATION_CONFIG, null, 2)}\n`);
}
for (const name of TOKENIZER_FILES) {
  if (existsSync(new URL(name, model))) copyFileSync(new URL(name, model), new URL(name, init));
}
const { bytes, count } = initialWeights(parameters(CONFIG), Number(values.seed));
writeFileSync(new URL("model.safetensors", init), bytes);
console.log(`${count} parameters; ${2 * count} bytes as float16`);
