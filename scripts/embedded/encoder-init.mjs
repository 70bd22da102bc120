/**
 * Writes the weights that roberta-tiny's pre-training begins with (.cache/embedded/encoders/roberta-init). From new weights
 * a short training does not find out which words are neighbours: a table of positions tells it nothing. So it begins where
 * deberta-tiny, whose distances are relative, has come to: with its layers, its head, and its embeddings of the pieces that
 * both vocabularies have; with sinusoids (Vaswani et al. 2017) for positions; and with queries and keys whose heads each
 * look at a place some words before or behind. All of them are trained.
 *
 *     node scripts/embedded/encoder-init.mjs DEBERTA_FOLDER
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { argv } from "node:process";
import { fileURLToPath } from "node:url";
import { openSafetensors, readTensors, writeSafetensors } from "../../dist/files/safetensors.js";
import { train } from "../../dist/index.js";
import { toFloat32 } from "../../dist/tensor/convert.js";

const POSITIONS = "roberta.embeddings.position_embeddings.weight";
const WORDS = "embeddings.word_embeddings.weight";
/** Radians a place of the fastest wave, and how many times slower the slowest one is: neighbours are told apart. */
const FASTEST = 1.5;
const WAVES = 30;
/** Places from a word that each head of each layer begins to look at. */
const OFFSETS = [
  [-1, 1, -2, 2],
  [-1, 1, -3, 3],
  [-2, 2, -4, 4],
  [-1, 1, -6, 6],
];
/** Of the weights of queries and keys: the place looked at has a score of about 5 above far ones. */
const SHARPNESS = 1.33;

const root = fileURLToPath(new URL("../../", import.meta.url));
const out = join(root, ".cache/embedded/encoders/roberta-init");
const model = join(root, "embedded/roberta-tiny");
const [, , deberta] = argv;
if (!deberta) throw new Error("usage: node scripts/embedded/encoder-init.mjs DEBERTA_FOLDER");

function read(folder) {
  return new Map(
    [...readTensors(openSafetensors(join(folder, "model.safetensors")))].map(([name, tensor]) => [
      name,
      { shape: tensor.shape, data: Float32Array.from(toFloat32(tensor)) },
    ]),
  );
}

/** DeBERTa's name of a tensor of RoBERTa's. */
function theirName(name) {
  return name
    .replace(/^roberta\./, "deberta.")
    .replace(/\.self\.(query|key|value)\./, ".self.$1_proj.")
    .replace("lm_head.dense", "cls.predictions.transform.dense")
    .replace("lm_head.layer_norm", "cls.predictions.transform.LayerNorm")
    .replace("lm_head.decoder.bias", "cls.predictions.decoder.bias");
}

/** For each of RoBERTa's tokens, DeBERTa's id of the same piece; undefined where it has none. */
function sharedPieces() {
  const json = (folder) => JSON.parse(readFileSync(join(folder, "tokenizer.json"), "utf8")).model.vocab;
  const ids = new Map(json(deberta).map(([piece], id) => [piece, id]));
  const special = { "<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]" };
  return Object.keys(json(model)).map((token) => ids.get(special[token] ?? token.replaceAll("\u0120", "\u2581")));
}

/** Rows of RoBERTa's vocabulary from DeBERTa's, `fresh` where a piece is new. */
function transferred(theirs, fresh, width, pieces) {
  const values = fresh.slice();
  pieces.forEach((id, row) => {
    if (id !== undefined) values.set(theirs.subarray(id * width, (id + 1) * width), row * width);
  });
  return values;
}

/** Radians a place of the wave in dimensions 2 pair and 2 pair + 1. */
function speed(pair, width) {
  return FASTEST / WAVES ** ((2 * pair) / width);
}

/**
 * Queries (offset 0 for all heads) or keys [width, width] that read the waves of positions, turned back by each head's
 * offset, so that the product of a query and a key is largest where the key's place is the query's and the offset.
 */
function looking(offsets, width) {
  const heads = offsets.length;
  const values = new Float32Array(width * width);
  for (let row = 0; row < width; row += 2) {
    const head = Math.floor((row * heads) / width);
    const pair = heads * ((row - (head * width) / heads) / 2) + head; // heads share the waves out, fast and slow
    const angle = speed(pair, width) * offsets[head];
    const [cosine, sine] = [SHARPNESS * Math.cos(angle), SHARPNESS * Math.sin(angle)];
    values.set([cosine, -sine], row * width + 2 * pair);
    values.set([sine, cosine], (row + 1) * width + 2 * pair);
  }
  return values;
}

function rootMeanSquare(values) {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}

rmSync(out, { recursive: true, force: true });
// A step at rate 0 writes new weights as they are.
const run = train({
  model,
  data: join(root, ".cache/embedded/encoders/valid.jsonl"),
  out,
  method: "full",
  task: "masked-lm",
  fromScratch: true,
  maxLength: 128,
  maxSteps: 1,
  lr: 0,
});
for await (const event of run) if (event.event === "done") console.log(`written: ${event.out}`);

const [fresh, theirs] = [read(out), read(deberta)];
const pieces = sharedPieces();
const words = theirs.get(`deberta.${WORDS}`);
console.log(`${pieces.filter((id) => id !== undefined).length} of ${pieces.length} pieces are DeBERTa's, too`);
const amplitude = Math.SQRT2 * rootMeanSquare(words.data);
const scale = amplitude / (Math.SQRT2 * rootMeanSquare(fresh.get(`roberta.${WORDS}`).data));

const tensors = [...fresh].map(([name, { shape, data }]) => {
  const width = shape.at(-1);
  if (name === POSITIONS) {
    const sinusoid = (_, at) => {
      const [row, i] = [Math.floor(at / width), at % width];
      const angle = row * speed(Math.floor(i / 2), width);
      return amplitude * (i % 2 === 0 ? Math.sin(angle) : Math.cos(angle));
    };
    return [name, { dtype: "f32", shape, data: data.map(sinusoid) }];
  }
  const scaled = data.map((value) => scale * value);
  if (name === `roberta.${WORDS}`) {
    return [name, { dtype: "f32", shape, data: transferred(words.data, scaled, width, pieces) }];
  }
  const [, layer, role] = /layer\.(\d)\.attention\.self\.(query|key)\.weight$/.exec(name) ?? [];
  if (role) {
    const offsets = role === "key" ? OFFSETS[layer] : OFFSETS[layer].map(() => 0);
    return [name, { dtype: "f32", shape, data: looking(offsets, width) }];
  }
  if (/self\.(query|key)\.bias$/.test(name)) return [name, { dtype: "f32", shape, data }];
  const found = theirs.get(theirName(name));
  if (name === "lm_head.decoder.bias") {
    return [name, { dtype: "f32", shape, data: transferred(found.data, data, 1, pieces) }];
  }
  return [name, { dtype: "f32", shape, data: found?.data ?? scaled }];
});
writeSafetensors(join(out, "model.safetensors"), tensors, { format: "pt" });
