/**
 * Puts a pre-trained encoder into the package: float16 weights under transformers' names, and the figures of its training
 * into the model card.
 *
 *     node scripts/embedded/encoder-finish.mjs roberta-tiny|deberta-tiny TRAINED_FOLDER "what was trained, in words"
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { argv } from "node:process";
import { fileURLToPath } from "node:url";
import { openSafetensors, readTensors, writeSafetensors } from "../../dist/files/safetensors.js";
import { evaluate } from "../../dist/index.js";
import { fromFloat32, toFloat32 } from "../../dist/tensor/convert.js";

/** The tied bias is trained under the name of the layer that adds it. */
const NAMES = { "lm_head.decoder.bias": "lm_head.bias", "cls.predictions.decoder.bias": "cls.predictions.bias" };

const [, , name, folder, words] = argv;
if (!words) throw new Error('usage: node scripts/embedded/encoder-finish.mjs NAME TRAINED_FOLDER "WORDS"');
const root = fileURLToPath(new URL("../../", import.meta.url));
const target = join(root, "embedded", name);
const tensors = [...readTensors(openSafetensors(join(folder, "model.safetensors")))].map(([key, tensor]) => [
  NAMES[key] ?? key,
  { dtype: "f16", shape: tensor.shape, data: fromFloat32(toFloat32(tensor), "f16") },
]);
writeSafetensors(join(target, "model.safetensors"), tensors, { format: "pt" });

const data = join(root, ".cache/embedded/encoders/valid.jsonl");
const { loss, accuracy, targetTokens } = await evaluate({ model: target, data, task: "masked-lm", maxLength: 256 });
const lines = [
  "## Training",
  "",
  `Trained with \`lowrank train --task masked-lm --method full\`: ${words}`,
  `On ${targetTokens.toLocaleString("en")} hidden tokens of the held-out text (15 %, float16 weights): loss ${loss.toFixed(3)} a token, ${(100 * accuracy).toFixed(1)} % right.`,
  "",
];
const card = join(target, "README.md");
const text = existsSync(card) ? readFileSync(card, "utf8") : "";
const start = text.indexOf("## Training");
writeFileSync(card, `${(start < 0 ? text : text.slice(0, start)).trimEnd()}\n\n${lines.join("\n")}`);
console.log(lines.join("\n"));
