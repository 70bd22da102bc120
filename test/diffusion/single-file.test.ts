/** Single-file checkpoints against the diffusers folders of the same tensors. */

import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { AUTOENCODER, readOwn, UNET } from "../../src/diffusion/component.ts";
import { openImageGenerator } from "../../src/diffusion/generate.ts";
import { ldmAutoencoderTensor, ldmUNetTensor } from "../../src/diffusion/ldm-names.ts";
import { componentsOf, openPipeline, type Pipeline } from "../../src/diffusion/pipeline.ts";
import { writePipeline } from "../../src/diffusion/write-pipeline.ts";
import { configureAutoencoder } from "../../src/models/autoencoder-kl.ts";
import { createStream } from "../../src/models/stream.ts";
import { traceWeights } from "../../src/models/trace.ts";
import { configureUNet } from "../../src/models/unet-config.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { FOLDERS, singleFile } from "./single-files.ts";

const at = (name: string): string => join(import.meta.dirname, name);
const scratch = mkdtempSync(join(tmpdir(), "lowrank-single-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function openSingle(family: keyof typeof FOLDERS): Pipeline {
  return openPipeline(singleFile(family, scratch), { modelConfig: at(FOLDERS[family]) });
}

function expectSame(found: Pipeline, wanted: Pipeline): void {
  const components = componentsOf(found);
  for (const [name, component] of componentsOf(wanted)) {
    const own = components.get(name)!;
    expect(own.trace.tensors.size).toBe(component.trace.tensors.size);
    for (const tensor of component.trace.tensors.keys()) {
      expect(readOwn(own, tensor), `${name}/${tensor}`).toEqual(readOwn(component, tensor));
    }
  }
}

async function image(pipeline: Pipeline): Promise<Uint8Array> {
  const generator = openImageGenerator(pipeline, nodeRuntime, { threads: 1 });
  for await (const event of generator.generate({ prompt: "a red tree", width: 16, height: 16, steps: 2, seed: 3 })) {
    if (event.event === "image") return event.picture.data;
  }
  throw new Error("no image");
}

describe.each(["sd1", "sd2", "xl"] as const)("%s", (family) => {
  test("a single file is the folder: every tensor, the image, and the folder written of it", async () => {
    const [single, folder] = [openSingle(family), openPipeline(at(FOLDERS[family]))];
    expectSame(single, folder);
    if (family === "sd2") return; // a case without a tokenizer
    expect(await image(single)).toEqual(await image(folder));
    const out = join(scratch, `${family}-folder`);
    writePipeline(single, out, new Map());
    const written = openPipeline(out);
    expectSame(written, folder);
    expect(await image(written)).toEqual(await image(folder));
  });
});

/** A file of zeros that takes no room, with a header of the given tensors. */
function sparse(name: string, tensors: ReadonlyMap<string, readonly number[]>): string {
  let offset = 0;
  const header: Record<string, unknown> = {};
  for (const [key, shape] of tensors) {
    const bytes = 2 * shape.reduce((a, b) => a * b, 1);
    header[key] = { dtype: "F16", shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  const json = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(json.length));
  const path = join(scratch, `${name}.safetensors`);
  const file = openSync(path, "w");
  writeSync(file, Buffer.concat([size, json]));
  ftruncateSync(file, 8 + json.length + offset);
  closeSync(file);
  return path;
}

const SIZES = {
  sd1: {
    unet: { attention_head_dim: 8, cross_attention_dim: 768 },
    text: { "cond_stage_model.transformer.text_model.": [768, 12] },
  },
  sd2: {
    unet: { attention_head_dim: [5, 10, 20, 20], cross_attention_dim: 1024, use_linear_projection: true },
    text: { "cond_stage_model.model.": [1024, 24] },
  },
  xl: {
    unet: {
      attention_head_dim: [5, 10, 20],
      cross_attention_dim: 2048,
      use_linear_projection: true,
      block_out_channels: [320, 640, 1280],
      down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
      up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
      transformer_layers_per_block: [1, 2, 10],
      addition_embed_type: "text_time",
      addition_time_embed_dim: 256,
      projection_class_embeddings_input_dim: 2816,
    },
    text: {
      "conditioner.embedders.0.transformer.text_model.": [768, 12],
      "conditioner.embedders.1.model.": [1280, 32],
    },
  },
} as const;

/** Names and shapes of the published checkpoints. */
function published(family: keyof typeof SIZES): Map<string, readonly number[]> {
  const tensors = new Map<string, readonly number[]>();
  const stream = createStream(1, 2);
  const unet = configureUNet(SIZES[family].unet);
  for (const [name, shape] of traceWeights(stream, (w) => UNET.build(w, unet, stream)).tensors) {
    tensors.set(`model.diffusion_model.${ldmUNetTensor(unet, name)}`, shape);
  }
  const blocks = [128, 256, 512, 512];
  const types = {
    down_block_types: blocks.map(() => "DownEncoderBlock2D"),
    up_block_types: blocks.map(() => "UpDecoderBlock2D"),
  };
  const vae = configureAutoencoder({ block_out_channels: blocks, layers_per_block: 2, ...types });
  for (const [name, shape] of traceWeights(stream, (w) => AUTOENCODER.build(w, vae, stream)).tensors) {
    const square = /attentions/.test(name) && shape.length === 2;
    tensors.set(`first_stage_model.${ldmAutoencoderTensor(4, name)}`, square ? [...shape, 1, 1] : shape);
  }
  for (const [prefix, [width, layers]] of Object.entries(SIZES[family].text)) {
    const open = prefix.endsWith(".model.");
    const add = (name: string, ...shape: number[]): void => void tensors.set(prefix + name, shape);
    add(open ? "token_embedding.weight" : "embeddings.token_embedding.weight", 49408, width);
    add(open ? "positional_embedding" : "embeddings.position_embedding.weight", 77, width);
    if (open) add("text_projection", width, width);
    for (let layer = 0; layer < layers; layer++) {
      const block = open ? `transformer.resblocks.${layer}.` : `encoder.layers.${layer}.`;
      const [attention, fc1, fc2] = open ? ["attn", "mlp.c_fc", "mlp.c_proj"] : ["self_attn", "mlp.fc1", "mlp.fc2"];
      if (open) {
        add(`${block}attn.in_proj_weight`, 3 * width, width);
        add(`${block}attn.in_proj_bias`, 3 * width);
      }
      for (const each of open ? ["out_proj"] : ["q_proj", "k_proj", "v_proj", "out_proj"]) {
        add(`${block}${attention}.${each}.weight`, width, width);
        add(`${block}${attention}.${each}.bias`, width);
      }
      add(`${block}${fc1}.weight`, 4 * width, width);
      add(`${block}${fc1}.bias`, 4 * width);
      add(`${block}${fc2}.weight`, width, 4 * width);
      add(`${block}${fc2}.bias`, width);
      for (const norm of open ? ["ln_1", "ln_2"] : ["layer_norm1", "layer_norm2"]) {
        for (const kind of ["weight", "bias"]) add(`${block}${norm}.${kind}`, width);
      }
    }
    for (const kind of ["weight", "bias"]) add(`${open ? "ln_final" : "final_layer_norm"}.${kind}`, width);
  }
  return tensors;
}

test.each(["sd1", "sd2", "xl"] as const)("%s: configurations are read off the published sizes", (family) => {
  const path = sparse(`published-${family}`, published(family));
  if (family === "sd2") expect(() => openPipeline(path)).toThrow(/--prediction v_prediction \(models of 768 pixels\)/);
  const pipeline = openPipeline(path, { prediction: family === "sd2" ? "v_prediction" : null });
  const sample_size = { sd1: 64, sd2: 96, xl: 128 }[family];
  expect(pipeline.unet.config).toEqual({ ...configureUNet(SIZES[family].unet), sample_size });
  expect(pipeline.unet.trace.parameters).toBe({ sd1: 859_520_964, sd2: 865_910_724, xl: 2_567_463_684 }[family]);
  expect(pipeline.vae.trace.parameters).toBe(83_653_863);
  expect(pipeline.vae.config.scaling_factor).toBe(family === "xl" ? 0.13025 : 0.18215);
  const texts = pipeline.textEncoders.map(
    ({ config: { num_hidden_layers, num_attention_heads, hidden_act, projection_dim } }) => [
      num_hidden_layers,
      num_attention_heads,
      hidden_act,
      projection_dim,
    ],
  );
  const clip = [12, 12, "quick_gelu", null];
  expect(texts).toEqual({ sd1: [clip], sd2: [[23, 16, "gelu", null]], xl: [clip, [32, 20, "gelu", 1280]] }[family]);
  expect(pipeline.scheduler["prediction_type"]).toBe(family === "sd2" ? "v_prediction" : "epsilon");
  expect(() => openImageGenerator(pipeline, nodeRuntime, { threads: 1 })).toThrow(
    /single files carry no tokenizer\. Give one with --tokenizer/,
  );
});

test("one folder of tokenizer files serves every encoder, filled up as each was trained", () => {
  const path = sparse("padding", published("xl"));
  const { textEncoders } = openPipeline(path, { tokenizer: at("pipelines/sd1/tokenizer") });
  expect(textEncoders.map(({ padding }) => padding)).toEqual([null, 0]);
  const both = openPipeline(path, { tokenizer: at("pipelines/xl") }).textEncoders;
  expect(both.map(({ tokenizer }) => tokenizer)).toEqual([
    at("pipelines/xl/tokenizer"),
    at("pipelines/xl/tokenizer_2"),
  ]);
});

test("what the file says it predicts is taken", () => {
  const marked = (name: string): unknown =>
    openPipeline(sparse(name, new Map([...published("xl"), [name, [1]]]))).scheduler["prediction_type"];
  expect([marked("v_pred"), marked("other")]).toEqual(["v_prediction", "epsilon"]);
});

test("files that are no whole checkpoint are refused, saying what is missing", () => {
  const without = (family: keyof typeof SIZES, part: RegExp, name: string): string =>
    sparse(name, new Map([...published(family)].filter(([key]) => !part.test(key))));
  expect(() => openPipeline(at("pipelines/sd1/lora.safetensors"))).toThrow(/A LoRA file goes with --adapter/);
  expect(() => openPipeline(without("sd1", /^first_stage/, "no-vae"))).toThrow(/holds no autoencoder/);
  expect(() => openPipeline(without("sd1", /^cond_stage/, "no-text"))).toThrow(/holds no text encoder/);
  expect(() => openPipeline(without("sd1", /middle_block\.0\.in_layers\.2/, "cut"))).toThrow(
    /mid_block\.resnets\.0\.conv1\.weight: missing/,
  );
  const refiner = new Map(
    [...published("sd1")].map(([key, shape]) => [
      key.replace("cond_stage_model.transformer", "conditioner.embedders.0.model"),
      shape,
    ]),
  );
  expect(() => openPipeline(sparse("refiner", refiner))).toThrow(/refiner of Stable Diffusion XL/);
  const wide = new Map([...published("sd1"), ["model.diffusion_model.input_blocks.0.0.weight", [320, 9, 3, 3]]]);
  expect(() => openPipeline(sparse("inpainting", wide))).toThrow(/inpainting and depth models are not supported/);
});

test("a .ckpt file is read without running anything", () => {
  const path = join(scratch, "broken.ckpt");
  writeFileSync(path, "no pickle");
  expect(() => openPipeline(path)).toThrow(/neither a zip archive nor a pickle/);
});
