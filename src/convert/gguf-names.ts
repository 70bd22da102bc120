/**
 * What llama.cpp calls the modules of a Hugging Face model, and where it turns their rows about.
 * Source: github.com/ggml-org/llama.cpp `gguf-py/gguf/tensor_mapping.py`, `convert_hf_to_gguf.py`.
 */

import { ModelError, UsageError } from "../errors.ts";

export interface GgufArchitecture {
  /** `general.architecture` */
  readonly name: string;
  /** GGUF's end of a tensor's name by the module's end, inside a block. */
  readonly block: ReadonlyMap<string, string>;
  /** Beginning of blocks' module names: "model.layers". */
  readonly blocks: string;
  readonly embedding: string;
  /** The head, where it is a module of its own. */
  readonly output: string;
  /** Whether rows of q and k are put in the order of rotated pairs. */
  readonly permutes: boolean;
}

const LLAMA: Readonly<Record<string, string>> = {
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};

const llama = (
  name: string,
  permutes = false,
  modules: Readonly<Record<string, string>> = LLAMA,
): GgufArchitecture => ({
  name,
  block: new Map(Object.entries(modules)),
  blocks: "model.layers",
  embedding: "model.embed_tokens",
  output: "lm_head",
  permutes,
});

/** By `model_type`. */
const ARCHITECTURES: Readonly<Record<string, GgufArchitecture>> = {
  llama: llama("llama", true),
  mistral: llama("llama", true),
  smollm3: llama("smollm3", true),
  qwen2: llama("qwen2"),
  qwen3: llama("qwen3"),
  gemma: llama("gemma"),
  gemma2: llama("gemma2"),
  gemma3_text: llama("gemma3"),
  olmo2: llama("olmo2"),
  phi3: llama("phi3", false, {
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
  }),
  phi: llama("phi2", false, {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.dense": "attn_output",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
  }),
  gpt2: {
    name: "gpt2",
    block: new Map([
      ["attn.c_attn", "attn_qkv"],
      ["attn.c_proj", "attn_output"],
      ["mlp.c_fc", "ffn_up"],
      ["mlp.c_proj", "ffn_down"],
    ]),
    blocks: "transformer.h",
    embedding: "transformer.wte",
    output: "lm_head",
    permutes: false,
  },
};

/** Throws ModelError for a model that llama.cpp's names are not known for. */
export function ggufArchitecture(modelType: unknown, where: string): GgufArchitecture {
  const found = Object.hasOwn(ARCHITECTURES, String(modelType)) ? ARCHITECTURES[String(modelType)] : undefined;
  if (found) return found;
  throw new ModelError(
    `${where}: GGUF's names of a ${JSON.stringify(modelType)} model are not known here. Known: ${Object.keys(ARCHITECTURES).join(", ")}.`,
  );
}

/** "blk.0.attn_q.weight" of "model.layers.0.self_attn.q_proj". */
export function ggufName(module: string, architecture: GgufArchitecture): string {
  if (module === architecture.embedding) return "token_embd.weight";
  if (module === architecture.output) return "output.weight";
  const rest = module.startsWith(`${architecture.blocks}.`) ? module.slice(architecture.blocks.length + 1) : "";
  const [, number, end = ""] = /^(\d+)\.(.+)$/.exec(rest) ?? [];
  const name = architecture.block.get(end);
  if (name !== undefined) return `blk.${number}.${name}.weight`;
  throw new UsageError(
    `${module} has no place in a GGUF adapter of ${architecture.name}. Possible are ${[...architecture.block.keys()].join(", ")}, ${architecture.embedding} and ${architecture.output}.`,
  );
}

/** The reverse of `ggufName`; null for a name that the architecture lacks. */
export function moduleName(tensor: string, architecture: GgufArchitecture): string | null {
  if (tensor === "token_embd.weight") return architecture.embedding;
  if (tensor === "output.weight") return architecture.output;
  const [, number, name] = /^blk\.(\d+)\.(\w+)\.weight$/.exec(tensor) ?? [];
  const end = [...architecture.block].find(([, each]) => each === name)?.[0];
  return end === undefined ? null : `${architecture.blocks}.${number}.${end}`;
}
