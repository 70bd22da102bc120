/**
 * GGUF files that we write, computed by llama.cpp: `npx vitest run --config test/peers.config.ts test/gguf`. It is taken
 * from node-llama-cpp in `.peers`, or in the folder that LOWRANK_LLAMA_CPP names. Bases of every architecture with
 * random weights, and adapters of them, must get our scores.
 */

import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { savePeftFolder } from "../../src/adapters/peft-folder.ts";
import { convertAdapter } from "../../src/convert/convert.ts";
import { writeJsonAtomic } from "../../src/files/atomic.ts";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { loadBase } from "../../src/generate/load.ts";
import { exportGguf, type GgufType } from "../../src/gguf/export.ts";
import { locateModel } from "../../src/models/locate.ts";
import { openModel } from "../../src/models/open.ts";
import { findArchitecture } from "../../src/models/registry.ts";
import { traceModel } from "../../src/models/trace.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { sizeOf } from "../../src/tensor/shape.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";
import { randomAdapter } from "../generate/random-adapter.ts";

/** What is used of node-llama-cpp. */
interface Disposable {
  dispose(): Promise<void>;
}
interface LlamaContext extends Disposable {
  getSequence(): {
    controlledEvaluate(
      input: readonly (readonly [token: number, options: object])[],
    ): Promise<readonly { readonly next: { readonly logits: ReadonlyMap<number, number> } }[]>;
  };
}
interface LlamaModel extends Disposable {
  createContext(options: object): Promise<LlamaContext>;
}
interface Llama extends Disposable {
  loadModel(options: { readonly modelPath: string; readonly gpuLayers: number }): Promise<LlamaModel>;
}

const peers = process.env["LOWRANK_LLAMA_CPP"] ?? fileURLToPath(new URL("../../.peers", import.meta.url));
const entry = join(peers, "node_modules/node-llama-cpp/dist/index.js");
const embedded = locateModel("embedded:gpt2-tiny");
const folder = mkdtempSync(join(tmpdir(), "lowrank-llama-cpp-"));
let llama: Llama | null = null;

beforeAll(async () => {
  if (!existsSync(entry)) return;
  const { getLlama } = (await import(pathToFileURL(entry).href)) as { getLlama(options: object): Promise<Llama> };
  llama = await getLlama({ gpu: false, build: "never", logLevel: "error" });
});
beforeEach(({ skip }) => skip(!llama, `${entry} is missing: npm install --prefix .peers node-llama-cpp`));
afterAll(async () => {
  await llama?.dispose();
  rmSync(folder, { recursive: true });
});

const common = {
  vocab_size: 4096,
  bos_token_id: 0,
  eos_token_id: 0,
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  hidden_act: "silu",
  rope_theta: 10000,
  tie_word_embeddings: false,
};
const gemma = { hidden_act: "gelu_pytorch_tanh", tie_word_embeddings: true };
const CONFIGS: Readonly<Record<string, object>> = {
  llama: common,
  "llama, tied": { ...common, tie_word_embeddings: true },
  "llama, yarn": {
    ...common,
    rope_scaling: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 64 },
  },
  mistral: { ...common, sliding_window: null },
  qwen2: common,
  qwen3: common,
  smollm3: common,
  gemma: { ...common, ...gemma },
};

/** A folder of a model with random weights and the embedded base's tokenizer. */
function randomBase(name: string): string {
  const out = join(folder, name.replace(/\W+/g, "-"));
  const config = { ...CONFIGS[name], model_type: name.split(",")[0] };
  const architecture = findArchitecture(config.model_type, name);
  const { tensors } = traceModel(architecture, architecture.configure(config), "causal-lm");
  mkdirSync(out, { recursive: true });
  writeJsonAtomic(join(out, "config.json"), config);
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) copyFileSync(join(embedded, file), join(out, file));
  const random = randomStream(1, out.length);
  const weights = [...tensors].map(([tensor, shape]) => {
    const data = Float32Array.from({ length: sizeOf(shape) }, () => random.normal() / 8);
    const gain = /norm\.weight$/.test(tensor) && name !== "gemma" ? 1 : 0;
    return [
      tensor,
      floatTensor(
        shape,
        data.map((value) => value + gain),
      ),
    ] as const;
  });
  writeSafetensors(join(out, "model.safetensors"), weights, { format: "pt" });
  return out;
}

const TOKENS = Array.from({ length: 24 }, (_, i) => (7 * i * i + 3) % 4096);

/** llama.cpp's scores after every token. */
async function peer(file: string, adapters: readonly object[]): Promise<Float32Array[]> {
  const model = await llama!.loadModel({ modelPath: file, gpuLayers: 0 });
  try {
    const context = await model.createContext({
      contextSize: 64,
      flashAttention: false,
      threads: 2,
      experimentalKvCacheKeyType: "F32",
      experimentalKvCacheValueType: "F32",
      ...(adapters.length > 0 ? { lora: { adapters } } : {}),
    });
    const wanted = { generateNext: { logits: true } };
    const found = await context.getSequence().controlledEvaluate(TOKENS.map((token) => [token, wanted] as const));
    return found.map(({ next: { logits } }) =>
      Float32Array.from({ length: logits.size }, (_, token) => logits.get(token)!),
    );
  } finally {
    await model.dispose();
  }
}

interface Agreement {
  /** Largest difference of a score. */
  readonly worst: number;
  /** Share of places where both find the same token best. */
  readonly best: number;
}

function compare(theirs: readonly Float32Array[], ours: Float32Array): Agreement {
  const V = ours.length / theirs.length;
  let [worst, same] = [0, 0];
  theirs.forEach((row, i) => {
    const own = ours.subarray(i * V, (i + 1) * V);
    expect(row.length).toBe(V);
    own.forEach((value, token) => {
      worst = Math.max(worst, Math.abs(value - row[token]!));
    });
    same += Number(bestOf(row) === bestOf(own));
  });
  return { worst, best: same / theirs.length };
}

function bestOf(scores: Float32Array): number {
  return scores.reduce((best, score, token) => (score > scores[best]! ? token : best), 0);
}

/** Both sides' scores of a base in a type, alone and with an adapter of these fields at two weights. */
async function agreement(base: string, type: GgufType, fields: object): Promise<Agreement[]> {
  const [file, peft, adapter] = [".gguf", "-peft", "-adapter.gguf"].map((end) => `${base}-${type}${end}`) as [
    string,
    string,
    string,
  ];
  exportGguf(base, file, type);
  savePeftFolder(peft, randomAdapter(openModel(base), { r: 4, lora_alpha: 6, task_type: "CAUSAL_LM", ...fields }, 3));
  convertAdapter({ adapter: peft, to: "gguf", out: adapter, model: base });
  const ours = await loadBase(base, { threads: 2 }, nodeRuntime);
  try {
    const mounted = await ours.adapter(peft);
    const found = [compare(await peer(file, []), await ours.logits(TOKENS))];
    for (const scale of [1, 0.4]) {
      const theirs = await peer(file, [{ filePath: adapter, scale }]);
      const [bare, own] = [await ours.logits(TOKENS), await ours.logits(TOKENS, [[mounted, scale]])];
      expect(compare([bare], own).worst).toBeGreaterThan(0.1); // the adapter does something
      found.push(compare(theirs, own));
    }
    return found;
  } finally {
    await ours.close();
  }
}

// llama.cpp looks Gelu up in a table of 16-bit floats.
const GELU = 6e-3;

test.each(Object.keys(CONFIGS))("%s: llama.cpp computes base and adapter as we do", async (name) => {
  const base = randomBase(name);
  for (const { worst, best } of await agreement(base, "f32", { target_modules: "all-linear" })) {
    expect(worst).toBeLessThan(name === "gemma" ? GELU : 2e-5);
    expect(best).toBe(1);
  }
  for (const { worst, best } of await agreement(base, "f16", { target_modules: ["q_proj", "v_proj", "down_proj"] })) {
    expect(worst).toBeLessThan(0.03);
    expect(best).toBeGreaterThan(0.9);
  }
  // Activations are rounded to eight bits there, too.
  for (const { worst, best } of await agreement(base, "q8_0", { target_modules: "all-linear" })) {
    expect(worst).toBeLessThan(0.5);
    expect(best).toBeGreaterThan(0.7);
  }
});

test("gpt2: the embedded base, whose matrices GGUF turns", async () => {
  const base = join(folder, "gpt2");
  mkdirSync(base);
  for (const file of ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
    copyFileSync(join(embedded, file), join(base, file));
  for (const { worst, best } of await agreement(base, "f32", { target_modules: "all-linear" })) {
    expect(worst).toBeLessThan(GELU);
    expect(best).toBe(1);
  }
});

test("scales, ranks and alphas of their own; embedding and head", async () => {
  const fields = {
    use_rslora: true,
    target_modules: ["q_proj", "k_proj", "o_proj", "down_proj", "embed_tokens", "lm_head"],
    rank_pattern: { k_proj: 8 },
    alpha_pattern: { down_proj: 16, embed_tokens: 3 },
  };
  for (const { worst, best } of await agreement(randomBase("llama"), "f32", fields)) {
    expect(worst).toBeLessThan(4e-5);
    expect(best).toBe(1);
  }
});
