/**
 * Writes what the embedded diffusion base is pre-trained from, into .cache/embedded-images (not committed): pictures
 * with captions, held-out ones, and a diffusers folder with a tokenizer and random weights. Seeded: the same bytes
 * every time. Needs a build (npm run build).
 *
 *     node scripts/embedded-images/init.mjs
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { captionOf, drawScene, SCENES } from "../../dist/cli/image-quickstart/shapes.js";
import { AUTOENCODER, CLIP_TEXT, UNET } from "../../dist/diffusion/component.js";
import { encodePng } from "../../dist/files/png.js";
import { writeSafetensors } from "../../dist/files/safetensors.js";
import { createStream } from "../../dist/models/stream.js";
import { traceWeights } from "../../dist/models/trace.js";
import { hashText, randomStream } from "../../dist/tensor/random.js";
import { floatTensor } from "../../dist/tensor/tensor.js";

const OUT = ".cache/embedded-images";
const PIXELS = 32;
/** Pictures of each scene for training. */
const VIEWS = 12;

const UNET_CONFIG = {
  _class_name: "UNet2DConditionModel",
  act_fn: "silu",
  attention_head_dim: 4,
  block_out_channels: [48, 96],
  center_input_sample: false,
  cross_attention_dim: 96,
  down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
  downsample_padding: 1,
  flip_sin_to_cos: true,
  freq_shift: 0,
  in_channels: 4,
  layers_per_block: 1,
  mid_block_scale_factor: 1,
  norm_eps: 1e-5,
  norm_num_groups: 8,
  out_channels: 4,
  sample_size: 8,
  up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
  use_linear_projection: true,
};

const VAE_CONFIG = {
  _class_name: "AutoencoderKL",
  act_fn: "silu",
  block_out_channels: [16, 32, 48],
  down_block_types: ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
  in_channels: 3,
  latent_channels: 4,
  layers_per_block: 1,
  norm_num_groups: 8,
  out_channels: 3,
  sample_size: PIXELS,
  scaling_factor: 1,
  up_block_types: ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
};

const SCHEDULER_CONFIG = {
  _class_name: "DDIMScheduler",
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  beta_start: 0.00085,
  clip_sample: false,
  num_train_timesteps: 1000,
  prediction_type: "v_prediction",
  set_alpha_to_one: false,
  steps_offset: 1,
  timestep_spacing: "trailing",
};

const json = (path, value) => writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);

/** Any two colours, instead of those that captions name. */
function anyPaints(seed) {
  const random = randomStream(seed, hashText("paints"));
  const colour = () => [0, 1, 2].map(() => 255 * random.uniform());
  return { fill: colour(), ground: colour() };
}

function writePictures(folder, seeds, styles = ["flat"]) {
  mkdirSync(folder, { recursive: true });
  const lines = [];
  SCENES.forEach((scene, i) => {
    for (const style of styles) {
      for (const seed of seeds(i)) {
        const file_name = `${String(i).padStart(3, "0")}-${style}-${seed}.png`;
        const at = 1000 * i + seed;
        const picture = drawScene(
          scene,
          style === "any" ? "flat" : style,
          PIXELS,
          at,
          style === "any" ? anyPaints(at) : undefined,
        );
        writeFileSync(`${folder}/${file_name}`, encodePng(picture));
        lines.push(JSON.stringify({ file_name, text: captionOf(scene) }));
      }
    }
  });
  writeFileSync(`${folder}/metadata.jsonl`, `${lines.join("\n")}\n`);
}

/** Byte-level letters that captions may need, then pairs merged by how often they stand together. */
function tokenizer(texts, merges) {
  const letters = [..."abcdefghijklmnopqrstuvwxyz0123456789,.!?'-"];
  const tokens = [...letters, ...letters.map((letter) => `${letter}</w>`)];
  const words = new Map();
  for (const word of texts.flatMap((text) => text.match(/[a-z]+|[^a-z\s]/g) ?? [])) {
    words.set(word, (words.get(word) ?? 0) + 1);
  }
  let split = [...words].map(([word, count]) => ({
    parts: [...word].map((letter, i) => (i === word.length - 1 ? `${letter}</w>` : letter)),
    count,
  }));
  const pairs = [];
  while (pairs.length < merges) {
    const counts = new Map();
    for (const { parts, count } of split) {
      for (let i = 0; i + 1 < parts.length; i++) {
        const pair = `${parts[i]} ${parts[i + 1]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + count);
      }
    }
    const best = [...counts].toSorted(([a, n], [b, m]) => m - n || (a < b ? -1 : 1))[0];
    if (!best) break;
    pairs.push(best[0]);
    const joined = best[0].replace(" ", "");
    tokens.push(joined);
    split = split.map(({ parts, count }) => ({ parts: merged(parts, best[0], joined), count }));
  }
  const all = [...tokens, "<|startoftext|>", "<|endoftext|>"];
  return { vocab: Object.fromEntries(all.map((token, id) => [token, id])), pairs };
}

function merged(parts, pair, joined) {
  const result = [];
  for (let i = 0; i < parts.length; i++) {
    if (`${parts[i]} ${parts[i + 1]}` === pair) {
      result.push(joined);
      i++;
    } else result.push(parts[i]);
  }
  return result;
}

/** Weights as PyTorch starts them: U(±1/√inputs), norms 1 and 0, embeddings normal. */
function writeComponent(folder, file, config, kind) {
  mkdirSync(folder, { recursive: true });
  json(`${folder}/config.json`, config);
  const stream = createStream(1, 2);
  const { tensors } = traceWeights(stream, (w) => kind.build(w, kind.configure(config), stream));
  const values = [...tensors].map(([name, shape]) => {
    const random = randomStream(7, hashText(`${folder}/${name}`));
    const tensor = floatTensor(shape);
    const bound = 1 / Math.sqrt(shape.slice(1).reduce((a, b) => a * b, 1));
    for (let i = 0; i < tensor.data.length; i++) {
      if (/norm\w*\.weight$/.test(name)) tensor.data[i] = 1;
      else if (name.endsWith(".bias")) tensor.data[i] = 0;
      else if (/embedding\.weight$/.test(name)) tensor.data[i] = 0.05 * random.normal();
      else tensor.data[i] = (2 * random.uniform() - 1) * bound;
    }
    return [name, tensor];
  });
  writeSafetensors(`${folder}/${file}`, values, { format: "pt" });
  return values.reduce((sum, [, { data }]) => sum + data.length, 0);
}

rmSync(OUT, { recursive: true, force: true });
writePictures(`${OUT}/train`, () => Array.from({ length: VIEWS }, (_, view) => view));
// The autoencoder sees every way of drawing and any colours, as one of real pictures would, so that it keeps all three
// channels apart; the UNet and the text encoder see flat shapes of named colours alone.
writePictures(`${OUT}/pictures`, () => [0, 1], ["flat", "ink", "night", "any"]);
writePictures(`${OUT}/held`, (i) => (i % 8 === 3 ? [99] : []));

const { vocab, pairs } = tokenizer(SCENES.map(captionOf), 200);
const size = Object.keys(vocab).length;
const end = vocab["<|endoftext|>"];
const TEXT_CONFIG = {
  architectures: ["CLIPTextModel"],
  bos_token_id: vocab["<|startoftext|>"],
  eos_token_id: end,
  hidden_act: "quick_gelu",
  hidden_size: 96,
  intermediate_size: 384,
  layer_norm_eps: 1e-5,
  max_position_embeddings: 24,
  model_type: "clip_text_model",
  num_attention_heads: 4,
  num_hidden_layers: 2,
  pad_token_id: end,
  projection_dim: 96,
  vocab_size: size,
};
const init = `${OUT}/init`;
mkdirSync(`${init}/tokenizer`, { recursive: true });
mkdirSync(`${init}/scheduler`, { recursive: true });
json(`${init}/tokenizer/vocab.json`, vocab);
writeFileSync(`${init}/tokenizer/merges.txt`, `#version: 0.2\n${pairs.join("\n")}\n`);
json(`${init}/tokenizer/special_tokens_map.json`, {
  bos_token: "<|startoftext|>",
  eos_token: "<|endoftext|>",
  pad_token: "<|endoftext|>",
  unk_token: "<|endoftext|>",
});
json(`${init}/tokenizer/tokenizer_config.json`, {
  bos_token: "<|startoftext|>",
  eos_token: "<|endoftext|>",
  model_max_length: 24,
  pad_token: "<|endoftext|>",
  tokenizer_class: "CLIPTokenizer",
  unk_token: "<|endoftext|>",
});
json(`${init}/scheduler/scheduler_config.json`, SCHEDULER_CONFIG);
json(`${init}/model_index.json`, {
  _class_name: "StableDiffusionPipeline",
  _diffusers_version: "0.30.0",
  feature_extractor: [null, null],
  requires_safety_checker: false,
  safety_checker: [null, null],
  scheduler: ["diffusers", "DDIMScheduler"],
  text_encoder: ["transformers", "CLIPTextModel"],
  tokenizer: ["transformers", "CLIPTokenizer"],
  unet: ["diffusers", "UNet2DConditionModel"],
  vae: ["diffusers", "AutoencoderKL"],
});
const weights = "diffusion_pytorch_model.safetensors";
const counts = {
  unet: writeComponent(`${init}/unet`, weights, UNET_CONFIG, UNET),
  vae: writeComponent(`${init}/vae`, weights, VAE_CONFIG, AUTOENCODER),
  text_encoder: writeComponent(`${init}/text_encoder`, "model.safetensors", TEXT_CONFIG, CLIP_TEXT),
};
console.log(`${size} tokens;`, counts);
