/**
 * Puts a trained base into the package: float16 weights, and the figures of its training into the model card.
 * usage: node scripts/embedded/finish.mjs TRAINED_FOLDER (what `lowrank train --method full` wrote, or a checkpoint of it)
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openSafetensors, readTensors, writeSafetensors } from "../../dist/files/safetensors.js";
import { evaluate } from "../../dist/index.js";
import { fromFloat32, toFloat32 } from "../../dist/tensor/convert.js";

const [folder] = process.argv.slice(2);
if (!folder) throw new Error("usage: node scripts/embedded/finish.mjs TRAINED_FOLDER");
const root = fileURLToPath(new URL("../../", import.meta.url));
const target = join(root, "embedded/gpt2-tiny");
const tensors = readTensors(openSafetensors(join(folder, "model.safetensors")));
const halves = [...tensors].map(([name, tensor]) => [
  name,
  { dtype: "f16", shape: tensor.shape, data: fromFloat32(toFloat32(tensor), "f16") },
]);
writeSafetensors(join(target, "model.safetensors"), halves, { format: "pt" });

const { loss, perplexity, targetTokens } = await evaluate({
  model: target,
  data: join(root, ".cache/embedded/valid.jsonl"),
});
const [steps] = process.argv.slice(3);
const lines = [
  "## Training",
  "",
  `Trained from scratch with \`lowrank train --method full\` (AdamW, cosine learning rate up to 2e-3, weight decay 0.1, 8 x 256 tokens a step${steps ? `, ${steps} steps` : ""}).`,
  `Loss on the ${targetTokens.toLocaleString("en")} held-out tokens: ${loss.toFixed(3)} a token, perplexity ${perplexity.toFixed(1)} (float16 weights, vocabulary of 4,096).`,
  "",
];
const card = join(target, "README.md");
const text = readFileSync(card, "utf8");
const start = text.indexOf("## Training");
writeFileSync(card, `${(start < 0 ? text : text.slice(0, start)).trimEnd()}\n\n${lines.join("\n")}`);
console.log(lines.join("\n"));
