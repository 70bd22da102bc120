/**
 * Prepares everything the embedded model is pre-trained on: the cleaned text
 * and the rows of tokens (in .cache/embedded, not committed) and the tokenizer
 * (in embedded/gpt2-tiny, part of the package). Same inputs, same bytes.
 *
 *     node scripts/embedded/prepare.mjs
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { createEncoder, END_OF_TEXT, tokenizerJson, trainBpe } from "./bpe.mjs";
import { baseCorpus } from "./corpus.mjs";

const VOCABULARY = 4096;
const CONTEXT = 256;

const root = new URL("../../", import.meta.url);
const cache = new URL(".cache/embedded/", root);
const model = new URL("embedded/gpt2-tiny/", root);

/** Writes a JSON object, one key a line at the top and the rest compact. */
function writeJson(url, value) {
  writeFileSync(url, `${JSON.stringify(value, null, 2)}\n`);
}

/**
 * Cuts the concatenated documents into rows of exactly CONTEXT tokens. The
 * labels repeat the ids: the loss shifts them by one itself. What is left over
 * at the end is dropped, so every row fills the context and none needs padding.
 */
function rows(documents, encode) {
  const lines = [];
  let row = [];
  let tokens = 0;
  for (const document of documents) {
    for (const id of [0, ...encode(document)]) {
      tokens++;
      row.push(id);
      if (row.length < CONTEXT) continue;
      const ids = JSON.stringify(row);
      lines.push(`{"input_ids":${ids},"labels":${ids}}\n`);
      row = [];
    }
  }
  return { lines, tokens };
}

mkdirSync(cache, { recursive: true });
mkdirSync(model, { recursive: true });

const corpus = baseCorpus();
for (const [name, { documents, characters }] of Object.entries(corpus.summary)) {
  console.log(`${name}: ${documents} documents, ${characters} characters`);
}

const started = performance.now();
const vocabulary = trainBpe(corpus.train, VOCABULARY);
console.log(`tokenizer: ${VOCABULARY} entries in ${((performance.now() - started) / 1000).toFixed(1)} s`);

// Compact, because the package's size is counted.
writeFileSync(new URL("tokenizer.json", model), `${JSON.stringify(tokenizerJson(vocabulary))}\n`);
writeJson(new URL("tokenizer_config.json", model), {
  add_prefix_space: false,
  bos_token: END_OF_TEXT,
  clean_up_tokenization_spaces: false,
  eos_token: END_OF_TEXT,
  model_max_length: CONTEXT,
  pad_token: END_OF_TEXT,
  tokenizer_class: "GPT2TokenizerFast",
  unk_token: END_OF_TEXT,
});
writeJson(new URL("special_tokens_map.json", model), {
  bos_token: END_OF_TEXT,
  eos_token: END_OF_TEXT,
  pad_token: END_OF_TEXT,
  unk_token: END_OF_TEXT,
});

const encode = createEncoder(vocabulary);
for (const split of ["train", "valid"]) {
  const documents = corpus[split];
  writeFileSync(new URL(`${split}.txt`, cache), `${documents.join(`\n${END_OF_TEXT}\n`)}\n`);
  const { lines, tokens } = rows(documents, encode);
  writeFileSync(new URL(`${split}.jsonl`, cache), lines.join(""));
  const bytes = documents.reduce((sum, document) => sum + Buffer.byteLength(document), 0);
  console.log(
    `${split}: ${documents.length} documents, ${bytes} bytes, ${tokens} tokens ` +
      `(${(bytes / (tokens - documents.length)).toFixed(3)} bytes a token), ${lines.length} rows of ${CONTEXT}`,
  );
}
console.log(`written: ${fileURLToPath(cache)} and ${fileURLToPath(model)}`);
