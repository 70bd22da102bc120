/** A folder that changes is read again under its name, whichever of its files it was. */

import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { folderContent, readPeftFolder } from "../../src/adapters/peft-folder.ts";
import { readTensor, writeSafetensors } from "../../src/files/safetensors.ts";
import { createRegistry } from "../../src/serve/registry.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";

const root = mkdtempSync(join(tmpdir(), "serve-registry-"));
afterAll(() => rmSync(root, { recursive: true }));

const values = (path: string, value: number): void =>
  writeSafetensors(path, [["t", floatTensor([1], Float32Array.of(value))]], { format: "pt" });

/** Pickled weights, and a composed adapter, whose second part is a folder inside. */
function writeFolders(): void {
  const [pickled, composed] = [join(root, "pickled"), join(root, "composed")];
  for (const folder of [pickled, composed, join(composed, "prefix_tuning")]) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "adapter_config.json"), '{"peft_type": "LORA"}');
  }
  copyFileSync(
    fileURLToPath(new URL("../files/torch/module.pth", import.meta.url)),
    join(pickled, "adapter_model.bin"),
  );
  values(join(composed, "adapter_model.safetensors"), 1);
  values(join(composed, "prefix_tuning/adapter_model.safetensors"), 1);
  writeFileSync(join(composed, "adapter_parts.json"), '{"parts": ["prefix_tuning"]}');
}

test("a change of pickled weights, of a part, of the list of parts or of a configuration is seen, and nothing else", async () => {
  writeFolders();
  const loaded: string[] = [];
  const registry = createRegistry({
    thread: {
      loadAdapter: async (_, path) => {
        loaded.push(path);
        return { bytes: 1, rank: 1, content: folderContent(path) };
      },
      dropAdapter: () => {},
    },
    folder: root,
    limit: 1e9,
  });
  const loads = async (name: string): Promise<number> => {
    loaded.length = 0;
    const held = await registry.hold([[name, 1]]);
    held.release();
    return loaded.length;
  };
  expect([await loads("pickled"), await loads("pickled")]).toEqual([1, 0]);
  copyFileSync(
    fileURLToPath(new URL("../files/torch/state.bin", import.meta.url)),
    join(root, "pickled/adapter_model.bin"),
  );
  expect([await loads("pickled"), await loads("pickled")]).toEqual([1, 0]);

  expect([await loads("composed"), await loads("composed")]).toEqual([1, 0]);
  values(join(root, "composed/prefix_tuning/adapter_model.safetensors"), 2);
  expect([await loads("composed"), await loads("composed")]).toEqual([1, 0]);
  writeFileSync(join(root, "composed/prefix_tuning/adapter_config.json"), '{"peft_type": "LORA", "r": 4}');
  expect([await loads("composed"), await loads("composed")]).toEqual([1, 0]);
  writeFileSync(join(root, "composed/adapter_parts.json"), '{"parts": []}');
  expect([await loads("composed"), await loads("composed")]).toEqual([1, 0]);
  writeFileSync(join(root, "composed/lowrank.json"), "{}"); // where it came from
  expect(await loads("composed")).toBe(0);
});

test("a folder read whole has the tensors and the hash of its files, whatever becomes of them afterwards", () => {
  writeFolders();
  const folder = readPeftFolder(join(root, "composed"));
  expect(folder.content).toBe(folderContent(join(root, "composed")));
  expect(readPeftFolder(join(root, "pickled")).content).toBe(folderContent(join(root, "pickled")));
  values(join(root, "composed/adapter_model.safetensors"), 7);
  values(join(root, "composed/prefix_tuning/adapter_model.safetensors"), 8);
  const value = ({ tensors }: Pick<typeof folder, "tensors">) => [...readTensor(tensors.get("t")!).data];
  expect([value(folder), ...folder.parts!.map(value)]).toEqual([[1], [1]]);
  expect(readPeftFolder(join(root, "composed")).content).not.toBe(folder.content);
});
