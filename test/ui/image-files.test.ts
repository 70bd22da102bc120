import { mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { encodePng } from "../../src/files/png.ts";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";
import { pictureFolder } from "../../src/ui/gallery.ts";
import { adapterFolder } from "../../src/ui/image-adapters.ts";
import { inFolder } from "../train/runs.ts";

const FILE = "pytorch_lora_weights.safetensors";

function lora(path: string, rank: number): void {
  mkdirSync(dirname(path), { recursive: true });
  const layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k";
  writeSafetensors(path, [
    [`${layer}.lora_A.weight`, floatTensor([rank, 96])],
    [`${layer}.lora_B.weight`, floatTensor([96, rank])],
  ]);
}

test("adapters are those of runs, of newest checkpoints, and files by themselves; pipelines and text adapters are none", () =>
  inFolder(async (root) => {
    lora(join(root, "a", "done", FILE), 1);
    lora(join(root, "a", "done", "done.safetensors"), 1); // the same in kohya's form
    for (const step of [10, 9]) {
      lora(join(root, "going", `checkpoint-${step}`, FILE), step);
      writeFileSync(join(root, "going", `checkpoint-${step}`, "trainer_state.json"), "{}");
    }
    lora(join(root, "alone.safetensors"), 3);
    lora(join(root, "merged", "unet", "lora.safetensors"), 4);
    writeFileSync(join(root, "merged", "model_index.json"), "{}");
    writeSafetensors(join(root, "adapter_model.safetensors"), [["base_model.model.x.lora_A.weight", floatTensor([1])]]);
    writeSafetensors(join(root, "other.safetensors"), [["weight", floatTensor([1])]]);
    writeFileSync(join(root, "broken.safetensors"), "no tensors");
    const folder = adapterFolder(root);
    const list = (): unknown[] => folder.list().map(({ id, step, header }) => [id, step, header.r, header.textWidth]);
    expect(list()).toEqual([
      ["a/done", null, 1, 96],
      ["alone", null, 3, 96],
      ["going", 10, 10, 96],
    ]);
    lora(join(root, "alone.safetensors"), 5); // written again
    utimesSync(join(root, "alone.safetensors"), 1, 2);
    expect(list()[1]).toEqual(["alone", null, 5, 96]);
    expect(adapterFolder(join(root, "nowhere")).list()).toEqual([]);
  }));

test("the gallery shows pictures newest first, whatever their texts say, and reads no other file", () =>
  inFolder(async (root) => {
    const folder = join(root, "pictures");
    const gallery = pictureFolder(folder);
    expect(gallery.list()).toEqual([]);
    const picture = { width: 1, height: 1, data: Uint8Array.of(1, 2, 3) };
    const facts = {
      model: "m",
      prompt: "p",
      negativePrompt: null,
      steps: 1,
      guidance: 1,
      seed: 7,
      width: 1,
      height: 1,
    };
    const name = gallery.add(encodePng(picture, { lowrank: JSON.stringify({ ...facts, adapters: [] }) }), 7);
    expect(readdirSync(folder)).toEqual([name]);
    writeFileSync(join(folder, "0-strange.png"), encodePng(picture, { lowrank: '{"prompt": 5}' }));
    writeFileSync(join(folder, "0-text.png"), "no picture");
    writeFileSync(join(root, "secret.png"), encodePng(picture));
    expect(gallery.list()).toEqual([
      { name, facts: { ...facts, adapters: [] } },
      { name: "0-text.png", facts: null },
      { name: "0-strange.png", facts: null },
    ]);
    expect(gallery.read(name)).not.toBeNull();
    expect(gallery.read("0-text.png")).toBeNull();
    expect(gallery.read("../secret.png")).toBeNull();
  }));
