/**
 * Encoder models against transformers and PEFT: logits, loss and every gradient, with rows side by side and padded,
 * and end to end in one stream. LOWRANK_GOLDENS names another folder of cases to compare, of other seeds.
 */

import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openSafetensors, readTensors, writeSafetensors } from "../../src/files/safetensors.ts";
import { deberta } from "../../src/models/deberta.ts";
import { debertaV2 } from "../../src/models/deberta-v2.ts";
import { bucketRow } from "../../src/models/disentangled.ts";
import { electra } from "../../src/models/electra.ts";
import { openModel, traceChecked } from "../../src/models/open.ts";
import { findArchitecture } from "../../src/models/registry.ts";
import { roberta } from "../../src/models/roberta.ts";
import { createStream, streamInputs } from "../../src/models/stream.ts";
import { checkpointWeights } from "../../src/models/weights.ts";
import { NO_VIRTUAL, place } from "../../src/program/layout.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { caseErrors, caseFolder, computeLogits, expectWithin, firstBatch, openCase } from "../goldens/harness.ts";

const OTHER = process.env["LOWRANK_GOLDENS"];
const CASES = OTHER
  ? readdirSync(OTHER).map((name) => join(OTHER, name))
  : [
      "bert-seqcls",
      "bert-tokencls",
      "bert-masked-lm",
      "roberta-seqcls",
      "roberta-regression",
      "roberta-masked-lm",
      "xlm-roberta-tokencls",
      "distilbert-masked-lm",
      "distilbert-seqcls",
      "electra-masked-lm",
      "electra-seqcls",
      "deberta-v1-seqcls",
      "deberta-v1-absolute",
      "deberta-v2-xxl-style",
      "deberta-v2-unshared",
      "deberta-v2-wide-conv",
      "deberta-v2-absolute",
      "deberta-v3-style",
    ];

test.each(CASES)("%s: logits, loss and every gradient, rows side by side and end to end", async (name) => {
  const golden = openCase(name);
  const lengths = firstBatch(golden).map(({ input_ids }) => input_ids.length);
  const total = lengths.reduce((a, b) => a + b, 0);
  for (const streams of [
    { B: lengths.length, T: Math.max(...lengths) },
    { B: 1, T: total + 5 },
  ]) {
    const errors = await caseErrors(golden, { streams });
    if (OTHER)
      console.log(golden.name, streams, errors.logits, errors.loss, Math.max(...Object.values(errors.gradients)));
    expectWithin(errors);
  }
});

test("deberta-v2-wide-conv: more rows than one a stream, in several streams, give each row's own logits", async () => {
  const golden = openCase("deberta-v2-wide-conv");
  const [first, second] = firstBatch(golden) as [{ input_ids: number[] }, { input_ids: number[] }];
  const short = { input_ids: [5] }; // one token: every neighbour of the convolution is another row's
  const rows = [first, short, second, short];
  const packed = await computeLogits(golden, rows, golden.adapter, { streams: { B: 2, T: 27 } });
  for (const [i, row] of rows.entries()) {
    const alone = await computeLogits(golden, [row], golden.adapter, { streams: { B: 1, T: row.input_ids.length } });
    packed.rows[i]!.forEach((value, at) => {
      expect(value).toBeCloseTo(alone.rows[0]![at]!, 5);
    });
  }
});

test.each(["bert-tokencls", "roberta-seqcls", "electra-seqcls", "distilbert-masked-lm", "deberta-v3-style"])(
  "%s: a checkpoint without the base model's prefix opens as the same model, and without its head when that is new",
  async (name) => {
    const golden = openCase(name);
    const folder = mkdtempSync(join(tmpdir(), "lowrank-"));
    try {
      const prefix = golden.model.architecture.basePrefix;
      const stored = readTensors(openSafetensors(join(caseFolder(name), "model", "model.safetensors")));
      const headless = (tensors: Iterable<readonly [string, Tensor]>): Map<string, Tensor> =>
        new Map([...tensors].map(([key, tensor]) => [key.startsWith(prefix) ? key.slice(prefix.length) : key, tensor]));
      cpSync(join(caseFolder(name), "model", "config.json"), join(folder, "config.json"));
      writeSafetensors(join(folder, "model.safetensors"), headless(stored));
      const model = openModel(folder);
      const batch = firstBatch(golden);
      const [got, wanted] = [
        await computeLogits({ model, task: golden.task }, batch, null),
        await computeLogits(golden, batch, null),
      ];
      expect(got).toEqual(wanted);

      writeSafetensors(
        join(folder, "model.safetensors"),
        headless([...stored].filter(([key]) => key.startsWith(prefix))),
      );
      const bare = openModel(folder);
      expect(() => traceChecked(bare, golden.task)).toThrow(/does not hold the tensors/);
      traceChecked(bare, golden.task, (key) => !key.startsWith(prefix));
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

test("roberta: positions begin behind the padding token's id, and padding inside a row stands at it", () => {
  const config = roberta.configure({ pad_token_id: 1, hidden_size: 8, num_attention_heads: 2, num_hidden_layers: 1 });
  expect(config.maxPositions).toBe(510);
  const stream = createStream(1, 8);
  const source = openModel(join(caseFolder("roberta-seqcls"), "model")).source;
  roberta.hidden(
    checkpointWeights(
      { ...source, find: (_name, shape) => ({ dtype: "f32", shape, path: "", offset: 0, byteLength: 0 }) },
      stream,
    ),
    config,
    stream,
  );
  const rows = [{ ids: Int32Array.of(7, 1, 8) }, { ids: Int32Array.of(9, 5) }];
  const { layout } = place(rows, { B: 1, T: 8 }, NO_VIRTUAL);
  const fed = streamInputs(stream, { ...layout, draw: 0 });
  expect([...fed.get("roberta.positions")!.data]).toEqual([2, 1, 3, 2, 3, 1, 1, 1]);
});

test("deberta: distances in logarithmic buckets are transformers' own", () => {
  // make_log_bucket_position(distance, 256, 512), moved by 256 and held within the table
  const wanted = {
    0: 256,
    1: 257,
    [-128]: 128,
    128: 384,
    129: 385,
    200: 425,
    [-300]: 49,
    511: 511,
    2000: 511,
    [-2000]: 0,
  };
  for (const [distance, row] of Object.entries(wanted)) expect(bucketRow(Number(distance), 256, 512)).toBe(row);
});

test("options that would change the computation are refused by name", () => {
  const bert = findArchitecture("bert", "here");
  expect(() => bert.configure({ is_decoder: true })).toThrow(/is_decoder true/);
  expect(() => bert.configure({ position_embedding_type: "relative_key" })).toThrow(/position_embedding_type/);
  expect(() => bert.configure({ hidden_act: "maxout" })).toThrow(/hidden_act "maxout"/);
  expect(() => electra.configure({ add_cross_attention: true })).toThrow(/add_cross_attention/);
  expect(() => deberta.configure({ talking_head: true })).toThrow(/talking_head/);
  expect(() => deberta.configure({ pos_att_type: "c2p|p2p" })).toThrow(/pos_att_type "c2p\|p2p"/);
  expect(() => debertaV2.configure({ conv_groups: 4 })).toThrow(/conv_groups/);
  expect(() => debertaV2.configure({ conv_kernel_size: 4 })).toThrow(/conv_kernel_size is 4/);
  expect(() => debertaV2.configure({ norm_rel_ebd: "batch_norm" })).toThrow(/norm_rel_ebd/);
  expect(() => debertaV2.configure({ pooler_hidden_size: 7 })).toThrow(/pooler_hidden_size 7/);
});

test("a published DeBERTa-v3 configuration reads as it stands", () => {
  const config = debertaV2.configure({
    model_type: "deberta-v2",
    attention_probs_dropout_prob: 0.1,
    hidden_act: "gelu",
    hidden_dropout_prob: 0.1,
    hidden_size: 768,
    initializer_range: 0.02,
    intermediate_size: 3072,
    max_position_embeddings: 512,
    relative_attention: true,
    position_buckets: 256,
    norm_rel_ebd: "layer_norm",
    share_att_key: true,
    pos_att_type: "p2c|c2p",
    layer_norm_eps: 1e-7,
    max_relative_positions: -1,
    position_biased_input: false,
    num_attention_heads: 12,
    num_hidden_layers: 12,
    type_vocab_size: 0,
    vocab_size: 128100,
  });
  expect(config).toMatchObject({
    position_buckets: 256,
    max_relative_positions: 512,
    norm_rel_ebd: true,
    share_att_key: true,
    pos_att_type: ["p2c", "c2p"],
    conv_kernel_size: 0,
    maxPositions: null,
  });
});
