/**
 * Makes what pre-training leaves into the embedded diffusion base.
 *
 *     node scripts/embedded-images/finish.mjs scale DIR    after the autoencoder: measures its latents' deviation on the
 *                                                          training pictures and writes scaling_factor = 1 / deviation
 *     node scripts/embedded-images/finish.mjs embed DIR    after the UNet: writes embedded/diffusion-tiny in float16, all but its card
 */
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readImageFile } from "../../dist/data/image-file.js";
import { openPipeline } from "../../dist/diffusion/pipeline.js";
import { createSessionPool } from "../../dist/diffusion/session-pool.js";
import { openSafetensors, readTensor, writeSafetensors } from "../../dist/files/safetensors.js";
import { readImageFolder } from "../../dist/image-train/image-folder.js";
import { encodeDistribution } from "../../dist/image-train/latents.js";
import { nodeRuntime } from "../../dist/runtime/node.js";
import { fromFloat32, toFloat32 } from "../../dist/tensor/convert.js";

const OUT = "embedded/diffusion-tiny";
const [action, folder] = process.argv.slice(2);

async function scale() {
  const pipeline = openPipeline(folder);
  const pool = createSessionPool(nodeRuntime, { threads: 1 }, 1);
  let [sum, squares, count] = [0, 0, 0];
  for (const { path } of readImageFolder(".cache/embedded-images/train").filter((_, i) => i % 40 === 0)) {
    const { mean } = await encodeDistribution(pipeline, pool, await readImageFile(path));
    for (const value of mean) {
      sum += value;
      squares += value * value;
      count++;
    }
  }
  await pool.close();
  const deviation = Math.sqrt(squares / count - (sum / count) ** 2);
  const path = join(folder, "vae/config.json");
  const config = { ...JSON.parse(readFileSync(path, "utf8")), scaling_factor: Number((1 / deviation).toFixed(5)) };
  writeFileSync(path, `${JSON.stringify(config, null, 2)}\n`);
  console.log(`deviation ${deviation}, scaling_factor ${config.scaling_factor}`);
}

function embed() {
  for (const part of ["model_index.json", "scheduler", "tokenizer", "text_encoder", "unet", "vae"]) {
    rmSync(join(OUT, part), { recursive: true, force: true });
    cpSync(join(folder, part), join(OUT, part), { recursive: true });
  }
  for (const path of [
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
  ]) {
    const tensors = [...openSafetensors(join(folder, path)).tensors].map(([name, entry]) => [
      name,
      { dtype: "f16", shape: entry.shape, data: fromFloat32(toFloat32(readTensor(entry)), "f16") },
    ]);
    writeSafetensors(join(OUT, path), tensors, { format: "pt" });
  }
}

if (action === "scale") await scale();
else if (action === "embed") embed();
else throw new Error("usage: finish.mjs scale|embed DIR");
