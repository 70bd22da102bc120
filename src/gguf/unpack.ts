/**
 * A model in a GGUF file as a Hugging Face folder: made once, in the cache, under a name that follows from the file's
 * content. Blocks become float32, 16-bit floats stay what they are. The blocks of layers lie beside them, as they are.
 */

import { createHash } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { ModelError } from "../errors.ts";
import { writeFileAtomic, writeJsonAtomic } from "../files/atomic.ts";
import { sampleFile } from "../files/fingerprint.ts";
import { type GgufFile, openGguf } from "../files/gguf.ts";
import { lastOf } from "../files/last-of.ts";
import { readExactly, withFile } from "../files/read-file.ts";
import { type TensorEntry, type WritableTensor, writeSafetensors } from "../files/safetensors.ts";
import { fromFloat32 } from "../tensor/convert.ts";
import { transpose } from "../tensor/linear-algebra.ts";
import { blockSteps, dequantiseGguf, isBlocked, stepsFormat } from "./blocks.ts";
import { type Described, describedArchitecture, describeModel } from "./config.ts";
import { readMetadata } from "./metadata.ts";
import { tensorName } from "./names.ts";
import { permutedHeads, permuteRows } from "./rows.ts";
import { readGgufTokenizer } from "./tokenizer.ts";

/** Raised whenever the folder would be another. */
const VERSION = 2;
const FREQUENCIES = "rope_freqs.weight";
/**
 * What the folder holds of matrices in blocks: NAME.codes, NAME.scales and perhaps NAME.offsets as `blockSteps` makes them,
 * rows as outputs; and as many middle codes of each width ("middles.4", two a byte, and "middles.8") as a matrix has blocks.
 */
export const BLOCKS_FILE = "blocks.safetensors";

/** The folder of the model; throws ModelError or FormatError for a file that cannot be one. */
export function unpackGguf(path: string, cacheDir: string): string {
  const file = openGguf(path);
  const key = createHash("sha256")
    .update(`${VERSION} ${sampleFile(file.path)}`)
    .digest("hex")
    .slice(0, 24);
  const folder = join(cacheDir, "gguf", key, basename(path).slice(0, -".gguf".length) || "model");
  const weights = join(folder, "model.safetensors");
  if (existsSync(weights)) return folder; // written last
  const metadata = readMetadata(file);
  const { architecture } = describedArchitecture(metadata);
  const entries = named(file, architecture);
  const embedding = file.tensors.get("token_embd.weight");
  if (embedding?.shape.length !== 2) throw new ModelError(`${path}: token_embd.weight is missing. Download it again.`);
  const described = describeModel(metadata, {
    vocabulary: embedding.shape[0]!,
    tied: headIsEmbedding(file),
    biased: file.tensors.has("blk.0.attn_q.bias"),
    frequencyFactors: factorsOf(file),
  });
  const tokenizer = readGgufTokenizer(metadata);
  mkdirSync(folder, { recursive: true });
  writeJsonAtomic(join(folder, "config.json"), described.config);
  if (tokenizer) {
    writeJsonAtomic(join(folder, "tokenizer.json"), tokenizer.tokenizer);
    writeJsonAtomic(join(folder, "tokenizer_config.json"), tokenizer.config);
    if (tokenizer.chatTemplate !== null) {
      writeFileAtomic(join(folder, "chat_template.jinja"), Buffer.from(tokenizer.chatTemplate));
    }
  }
  writeBlocks(join(folder, BLOCKS_FILE), entries, described, path);
  const tensors = [...entries].map(([name, entry]) => [name, writable(name, entry, described, path)] as const);
  writeSafetensors(weights, tensors, { format: "pt" });
  return folder;
}

/** The tensors by the checkpoint's names. A head that only repeats the embedding is left out. */
function named(file: GgufFile, architecture: Described["architecture"]): Map<string, TensorEntry> {
  const found = new Map<string, TensorEntry>();
  const unknown: string[] = [];
  for (const [tensor, entry] of file.tensors) {
    if (tensor === FREQUENCIES || (tensor === "output.weight" && headIsEmbedding(file))) continue;
    const name = tensorName(tensor, architecture);
    if (name === null) unknown.push(tensor);
    else found.set(name, entry);
  }
  if (unknown.length === 0) return found;
  throw new ModelError(
    `${file.path}: ${unknown.slice(0, 10).join(", ")}${unknown.length > 10 ? ` and ${unknown.length - 10} more` : ""}: no tensors of a ${architecture.name} model that is known here. Take the model's safetensors files instead.`,
  );
}

/** Whether there is no head of its own: none, or the embedding's bytes again. */
function headIsEmbedding({ tensors }: GgufFile): boolean {
  const [head, embedding] = [tensors.get("output.weight"), tensors.get("token_embd.weight")];
  if (!head || !embedding) return true;
  if (head.storedType !== embedding.storedType || head.shape.join() !== embedding.shape.join()) return false;
  return Buffer.compare(bytesOf(head), bytesOf(embedding)) === 0;
}

function factorsOf({ tensors }: GgufFile): Float32Array | null {
  const entry = tensors.get(FREQUENCIES);
  return entry ? dequantiseGguf(entry, bytesOf(entry)) : null;
}

function bytesOf({ path, offset, byteLength }: TensorEntry): Uint8Array {
  return withFile(path, (file) => readExactly(file, path, offset, byteLength));
}

/** The matrices of layers that are stored in blocks; no file when there are none. */
function writeBlocks(
  out: string,
  entries: ReadonlyMap<string, TensorEntry>,
  { config, architecture }: Described,
  path: string,
): void {
  const steps = lastOf((entry: TensorEntry) => {
    const bytes = bytesOf(entry);
    const rows = entry.shape[0]!;
    const heads = permutedHeads(entry.name, architecture, config, path);
    const inOrder = heads === null ? bytes : permuteRows(bytes, rows, bytes.byteLength / rows, heads, true);
    return blockSteps(entry.storedType, inOrder);
  });
  const tensors: [string, WritableTensor][] = [];
  const most = { 4: 0, 8: 0 }; // blocks of a matrix
  for (const [name, entry] of entries) {
    if (!isBlocked(entry.storedType) || !inBlock(name, architecture)) continue;
    const [rows, columns] = entry.shape as [number, number];
    const { bits, block, offset } = stepsFormat(entry.storedType);
    const shape = [rows, columns / block];
    tensors.push([`${name}.scales`, { dtype: "f32", shape, data: () => steps(entry).scales }]);
    if (offset) tensors.push([`${name}.offsets`, { dtype: "f32", shape, data: () => steps(entry).offsets! }]);
    tensors.push([
      `${name}.codes`,
      { dtype: "u8", shape: [rows, (columns * bits) / 8], data: () => steps(entry).codes },
    ]);
    most[bits] = Math.max(most[bits], (rows * columns) / block);
  }
  if (tensors.length === 0) return;
  const [fours, eights] = [Math.ceil(most[4] / 2), most[8]];
  tensors.push(["middles.4", { dtype: "u8", shape: [fours], data: () => new Uint8Array(fours).fill(0x88) }]);
  tensors.push(["middles.8", { dtype: "u8", shape: [eights], data: () => new Uint8Array(eights).fill(0x80) }]);
  writeSafetensors(out, tensors);
}

/** Whether a checkpoint's tensor is of a layer's matrix, which GPT-2 turns. */
function inBlock(name: string, { block }: Described["architecture"]): boolean {
  return block.has(name.replace(/^.*?\.\d+\./, "").replace(/\.\w+$/, "")) && name.endsWith(".weight");
}

/** The tensor as the checkpoint has it: rows of queries and keys in its order, GPT-2's matrices turned, Gemma's gains less one. */
function writable(name: string, entry: TensorEntry, { config, architecture }: Described, path: string): WritableTensor {
  const dtype = entry.dtype === "f16" || entry.dtype === "bf16" ? entry.dtype : "f32";
  const [rows = 1, columns = 1] = entry.shape;
  const { base } = architecture;
  const turned = base!.turned && inBlock(name, architecture);
  const norm = base!.gainLessOne && /norm\.weight$/.test(name);
  const data = (): Float32Array => {
    const values = dequantiseGguf(entry, bytesOf(entry));
    const heads = permutedHeads(entry.name, architecture, config, path);
    if (heads !== null) return permuteRows(values, rows, columns, heads, true);
    if (turned) return Float32Array.from(transpose(values, rows, columns));
    return norm ? values.map((value) => value - 1) : values;
  };
  return { dtype, shape: turned ? [columns, rows] : entry.shape, data: () => fromFloat32(data(), dtype) };
}
