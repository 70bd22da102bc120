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
  /** What whole models hold beside the modules above; null where only adapters are known. */
  readonly base: BaseNames | null;
}

export interface BaseNames {
  /** GGUF's end of a norm's name by the module's end, inside a block. */
  readonly norms: ReadonlyMap<string, string>;
  /** The norm behind the last block. */
  readonly lastNorm: string;
  /** The table of learned positions; null for rotary ones. */
  readonly positions: string | null;
  /** Whether the checkpoint's matrices are stored [in, out], which GGUF turns. */
  readonly turned: boolean;
  /** Whether the checkpoint's norms hold their gain less one. */
  readonly gainLessOne: boolean;
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

const NORMS = { input_layernorm: "attn_norm", post_attention_layernorm: "ffn_norm" } as const;

const decoderNames = (more: Readonly<Record<string, string>> = NORMS): BaseNames => ({
  norms: new Map(Object.entries(more)),
  lastNorm: "model.norm",
  positions: null,
  turned: false,
  gainLessOne: false,
});

const QUERY_KEY_NORMS = { "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm" } as const;

const llama = (
  name: string,
  base: BaseNames | null = null,
  permutes = false,
  modules: Readonly<Record<string, string>> = LLAMA,
): GgufArchitecture => ({
  name,
  block: new Map(Object.entries(modules)),
  blocks: "model.layers",
  embedding: "model.embed_tokens",
  output: "lm_head",
  permutes,
  base,
});

/** By `model_type`. */
const ARCHITECTURES: Readonly<Record<string, GgufArchitecture>> = {
  llama: llama("llama", decoderNames(), true),
  mistral: llama("llama", decoderNames(), true),
  smollm3: llama("smollm3", decoderNames(), true),
  qwen2: llama("qwen2", decoderNames()),
  qwen3: llama("qwen3", decoderNames({ ...NORMS, ...QUERY_KEY_NORMS })),
  gemma: llama("gemma", { ...decoderNames(), gainLessOne: true }),
  gemma2: llama("gemma2"),
  gemma3_text: llama("gemma3"),
  olmo2: llama("olmo2"),
  phi3: llama("phi3", null, false, {
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
  }),
  phi: llama("phi2", null, false, {
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
    base: {
      norms: new Map([
        ["ln_1", "attn_norm"],
        ["ln_2", "ffn_norm"],
      ]),
      lastNorm: "transformer.ln_f",
      positions: "transformer.wpe",
      turned: true,
      gainLessOne: false,
    },
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

/** The model types whose whole models are known, by `general.architecture`, the first of several. */
export function baseArchitectures(): ReadonlyMap<string, { modelType: string; architecture: GgufArchitecture }> {
  const found = new Map<string, { modelType: string; architecture: GgufArchitecture }>();
  for (const [modelType, architecture] of Object.entries(ARCHITECTURES)) {
    if (architecture.base && !found.has(architecture.name)) found.set(architecture.name, { modelType, architecture });
  }
  return found;
}

/** The checkpoint's name of a base's tensor ("model.norm.weight" of "output_norm.weight"); null for one it lacks. */
export function tensorName(
  tensor: string,
  { base, block, blocks, embedding, output }: GgufArchitecture,
): string | null {
  const [, place = "", kind = ""] = /^(.+)\.(weight|bias)$/.exec(tensor) ?? [];
  const [, number, inner] = /^blk\.(\d+)\.(\w+)$/.exec(place) ?? [];
  const outside: Readonly<Record<string, string | null | undefined>> = {
    token_embd: embedding,
    output,
    output_norm: base?.lastNorm,
    position_embd: base?.positions,
  };
  const end = [...block, ...(base?.norms ?? [])].find(([, each]) => each === inner)?.[0];
  const module = number === undefined ? outside[place] : end && `${blocks}.${number}.${end}`;
  return module ? `${module}.${kind}` : null;
}

/** GGUF's name of a checkpoint's tensor; null for one that GGUF does not hold. */
export function ggufTensorName(tensor: string, { base, block, blocks, ...at }: GgufArchitecture): string | null {
  const dot = tensor.lastIndexOf(".");
  const [module, kind] = [tensor.slice(0, dot), tensor.slice(dot + 1)];
  const outside: Readonly<Record<string, string>> = {
    [at.embedding]: "token_embd",
    [at.output]: "output",
    ...(base ? { [base.lastNorm]: "output_norm" } : {}),
    ...(base?.positions ? { [base.positions]: "position_embd" } : {}),
  };
  if (Object.hasOwn(outside, module)) return `${outside[module]}.${kind}`;
  const rest = module.startsWith(`${blocks}.`) ? module.slice(blocks.length + 1) : "";
  const [, number, end = ""] = /^(\d+)\.(.+)$/.exec(rest) ?? [];
  const inner = block.get(end) ?? base?.norms.get(end);
  return inner === undefined ? null : `blk.${number}.${inner}.${kind}`;
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
