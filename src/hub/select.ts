/** Which files of a repository are needed: configuration, tokenizer, and one set of weights. */

import { ModelError } from "../errors.ts";

const MODEL_FILES = new RegExp(
  "^(?:config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|modules|" +
    "sentence_bert_config|config_sentence_transformers|preprocessor_config|quantize_config)\\.json$|" +
    "^(?:merges|vocab)\\.txt$|^chat_template\\.(?:jinja|json)$|\\.model$|^\\d+_[A-Za-z]+/(?:config\\.json|.*\\.(?:safetensors|bin))$|" +
    "^(?:LICENSE|README)[^/]*$",
);
const ADAPTER_FILES =
  /^(?:[\w-]+\/)?(?:adapter_config\.json|adapter_model\.(?:safetensors|bin))$|^(?:adapter_parts|lowrank)\.json$/;
const TOKENIZER_FILES =
  /^(?:tokenizer(?:_2)?\/)?(?:vocab\.json|merges\.txt|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json)$/;
const PIPELINE_CONFIG = /^(?:model_index\.json|[\w-]+\/[\w.-]+\.(?:json|txt|model))$/;
const DATA = /\.(?:jsonl|ndjson|json|csv|tsv|parquet)(?:\.gz)?$/i;

type Pick = (paths: readonly string[]) => string[];

/** Files of a language model or encoder, or of a diffusers pipeline. */
export const modelFiles: Pick = (paths) => {
  if (paths.includes("model_index.json")) return pipelineFiles(paths);
  const weights = weightFiles(paths, "", "model", "pytorch_model");
  if (weights.length === 0) throw noWeights(paths, "model.safetensors or pytorch_model.bin");
  return [...paths.filter((path) => MODEL_FILES.test(path)), ...weights];
};

/** What tells a model's sizes. */
export const configFiles: Pick = (paths) => {
  if (paths.includes("config.json")) return ["config.json"];
  throw noWeights(paths, "config.json");
};

/** A diffusers pipeline without its weights. */
export const pipelineConfigs: Pick = (paths) => {
  if (!paths.includes("model_index.json")) throw noWeights(paths, "model_index.json");
  return paths.filter((path) => PIPELINE_CONFIG.test(path) && !path.endsWith(".index.json"));
};

/** CLIP's tokenizer: of a repository of its own, or of a pipeline's folders. */
export const tokenizerFiles: Pick = (paths) => {
  const found = paths.filter((path) => TOKENIZER_FILES.test(path));
  if (found.some((path) => /(?:merges\.txt|tokenizer\.json)$/.test(path))) return found;
  throw noWeights(paths, "vocab.json with merges.txt");
};

/** Files of an adapter: a PEFT folder, or one LoRA file of Stable Diffusion. */
export const adapterFiles: Pick = (paths) => {
  const peft = paths.filter((path) => ADAPTER_FILES.test(path));
  if (peft.includes("adapter_config.json")) {
    return peft.includes("adapter_model.safetensors") ? peft.filter((path) => path !== "adapter_model.bin") : peft;
  }
  const single = paths.filter((path) => /^[^/]+\.safetensors$/.test(path));
  const chosen = single.includes("pytorch_lora_weights.safetensors") ? ["pytorch_lora_weights.safetensors"] : single;
  if (chosen.length === 1) return chosen;
  throw noWeights(paths, "adapter_config.json with adapter_model.safetensors, or one LoRA file");
};

/** Data files, and the card. */
export const datasetFiles: Pick = (paths) => {
  const data = paths.filter((path) => DATA.test(path) && !/(^|\/)(?:dataset_infos?|state)\.json$/.test(path));
  if (data.length === 0) throw noWeights(paths, "JSONL, JSON, CSV or Parquet files");
  return data;
};

/** Every component's configuration and its full-precision weights. */
function pipelineFiles(paths: readonly string[]): string[] {
  const folders = [
    ...new Set(paths.filter((path) => path.includes("/")).map((path) => path.slice(0, path.indexOf("/") + 1))),
  ];
  const components = folders.filter(
    (folder) => !/^(?:safety_checker|feature_extractor|flax|onnx|openvino)/.test(folder),
  );
  const weights = components.flatMap((folder) => {
    const found = weightFiles(paths, folder, "diffusion_pytorch_model", "diffusion_pytorch_model");
    return found.length > 0 ? found : weightFiles(paths, folder, "model", "pytorch_model");
  });
  const configs = paths.filter((path) => PIPELINE_CONFIG.test(path) && !path.endsWith(".index.json"));
  return [
    ...configs.filter((path) => !path.includes("/") || components.some((folder) => path.startsWith(folder))),
    ...weights,
  ];
}

/** safetensors, else PyTorch's files: whole, or the index and its shards. */
function weightFiles(paths: readonly string[], folder: string, safe: string, pickled: string): string[] {
  for (const [stem, ending] of [
    [safe, "safetensors"],
    [pickled, "bin"],
  ] as const) {
    const single = `${folder}${stem}.${ending}`;
    if (paths.includes(single)) return [single];
    const index = `${folder}${stem}.${ending}.index.json`;
    const shard = new RegExp(`^${folder}${stem}-\\d{5}-of-(\\d{5})\\.${ending}$`);
    const shards = paths.filter((path) => shard.test(path));
    if (paths.includes(index) && shards.length === Number(shard.exec(shards[0] ?? "")?.[1] ?? 0))
      return [index, ...shards];
  }
  return [];
}

function noWeights(paths: readonly string[], needed: string): ModelError {
  const shown = paths.slice(0, 12).join(", ") || "nothing";
  const gguf = paths.some((path) => path.endsWith(".gguf"));
  return new ModelError(
    `the repository has no ${needed} (it holds ${shown}${paths.length > 12 ? ", …" : ""}). ` +
      (gguf ? "Download one of its .gguf files and give its path." : "Choose another repository."),
  );
}
