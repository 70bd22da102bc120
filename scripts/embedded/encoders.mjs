/**
 * Prepares the embedded encoders: rows of text to pre-train on (in
 * .cache/embedded/encoders, not committed), and configuration and tokenizer of
 * roberta-tiny and deberta-tiny (in embedded/). Same inputs, same bytes.
 *
 *     node scripts/embedded/encoders.mjs [--python PYTHON]
 *
 * DeBERTa-v3's tokenizer is SentencePiece's unigram model, which the Python
 * package tokenizers trains; without --python it is left as it is.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { tokenizerJson, trainBpe } from "./bpe.mjs";
import { baseCorpus, blocks, sentences } from "./corpus.mjs";
import { isHeldOut } from "./encoder-tasks.mjs";

const VOCABULARY = 6144;
const POSITIONS = 256;
/** Rows of up to about 128 tokens. */
const ROW_CHARACTERS = 440;

const root = new URL("../../", import.meta.url);
const cache = new URL(".cache/embedded/encoders/", root);

/** What both share. Dropout is off: the text is read only a few times. */
const COMMON = {
  attention_probs_dropout_prob: 0.0,
  hidden_act: "gelu",
  hidden_dropout_prob: 0.0,
  hidden_size: 128,
  initializer_range: 0.02,
  intermediate_size: 512,
  num_attention_heads: 4,
  num_hidden_layers: 4,
  tie_word_embeddings: true,
  torch_dtype: "float16",
  vocab_size: VOCABULARY,
};

const ROBERTA = {
  ...COMMON,
  architectures: ["RobertaForMaskedLM"],
  bos_token_id: 0,
  eos_token_id: 2,
  initializer_range: 0.06, // 0.02 is right for width 768
  layer_norm_eps: 1e-5,
  max_position_embeddings: POSITIONS + 2,
  model_type: "roberta",
  pad_token_id: 1,
  type_vocab_size: 1,
};

/** As microsoft/deberta-v3-small has it, buckets for the shorter context. */
const DEBERTA = {
  ...COMMON,
  architectures: ["DebertaV2ForMaskedLM"],
  layer_norm_eps: 1e-7,
  max_position_embeddings: POSITIONS,
  max_relative_positions: -1,
  model_type: "deberta-v2",
  norm_rel_ebd: "layer_norm",
  pad_token_id: 0,
  pooler_dropout: 0,
  pooler_hidden_act: "gelu",
  pos_att_type: "p2c|c2p",
  position_biased_input: false,
  position_buckets: 64,
  relative_attention: true,
  share_att_key: true,
  type_vocab_size: 0,
};

const ROBERTA_SPECIALS = { bos_token: "<s>", pad_token: "<pad>", eos_token: "</s>", unk_token: "<unk>" };
const ROBERTA_ROLES = { ...ROBERTA_SPECIALS, cls_token: "<s>", sep_token: "</s>", mask_token: "<mask>" };
const DEBERTA_ROLES = {
  bos_token: "[CLS]",
  cls_token: "[CLS]",
  eos_token: "[SEP]",
  mask_token: "[MASK]",
  pad_token: "[PAD]",
  sep_token: "[SEP]",
  unk_token: "[UNK]",
};

const { values } = parseArgs({ options: { python: { type: "string" } } });

function writeJson(url, value, indent = 2) {
  writeFileSync(url, `${JSON.stringify(value, null, indent)}\n`);
}

/** Documents as rows that fit the context, cut between sentences. */
function rows(documents) {
  return documents.flatMap((document) => blocks(sentences(document.replace(/\n/g, " ")), " ", ROW_CHARACTERS));
}

/** RoBERTa's tokenizer: GPT-2's bytes and merges, <s> and </s> around a text, <mask> last. */
function robertaTokenizer(texts) {
  const specials = Object.values(ROBERTA_SPECIALS);
  const vocabulary = trainBpe(texts, VOCABULARY - 1, specials);
  const tokens = [...vocabulary.tokens, "<mask>"];
  const added = [...specials, "<mask>"].map((content) => ({
    id: tokens.indexOf(content),
    content,
    single_word: false,
    lstrip: content === "<mask>", // "the <mask>" hides a word with its space
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const sep = ["</s>", 2];
  const cls = ["<s>", 0];
  return {
    ...tokenizerJson({ ...vocabulary, tokens }),
    added_tokens: added,
    post_processor: { type: "RobertaProcessing", sep, cls, trim_offsets: true, add_prefix_space: false },
  };
}

function writeModel(name, config, tokenizer) {
  const folder = new URL(`embedded/${name}/`, root);
  mkdirSync(folder, { recursive: true });
  writeJson(new URL("config.json", folder), config);
  writeJson(new URL("tokenizer_config.json", folder), { ...tokenizer, model_max_length: POSITIONS });
  return folder;
}

mkdirSync(cache, { recursive: true });
const corpus = baseCorpus({ used: (address) => !isHeldOut(address) });
const train = rows(corpus.train);
const valid = rows(corpus.valid);
for (const [split, texts] of Object.entries({ train, valid })) {
  writeFileSync(new URL(`${split}.jsonl`, cache), texts.map((text) => `${JSON.stringify({ text })}\n`).join(""));
  console.log(`${split}: ${texts.length} rows, ${texts.reduce((sum, text) => sum + text.length, 0)} characters`);
}

const roberta = writeModel("roberta-tiny", ROBERTA, {
  ...ROBERTA_ROLES,
  add_prefix_space: false,
  tokenizer_class: "RobertaTokenizer",
});
writeJson(new URL("tokenizer.json", roberta), robertaTokenizer(train), 0);

const deberta = writeModel("deberta-tiny", DEBERTA, {
  ...DEBERTA_ROLES,
  do_lower_case: false,
  split_by_punct: false,
  tokenizer_class: "DebertaV2Tokenizer",
});
if (values.python !== undefined) {
  const script = fileURLToPath(new URL("unigram.py", import.meta.url));
  const paths = [new URL("train.jsonl", cache), new URL("tokenizer.json", deberta)].map((url) => fileURLToPath(url));
  execFileSync(values.python, [script, ...paths, String(VOCABULARY)], { stdio: "inherit" });
}
