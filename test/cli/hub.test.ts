/** Hub ids on the command line, against a hub on this machine. */

import { cpSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { COMMIT, startHub } from "../hub/server.ts";
import { golden, inScratch, lowrank, readJson } from "./lowrank.ts";

const CASE = "gpt2-c_attn";

function filesOf(folder: string): Record<string, Uint8Array> {
  return Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]));
}

test("train, eval and info by hub ids; offline afterwards; the adapter names base and commit", () =>
  inScratch(async (folder) => {
    const rows = readFileSync(golden(CASE, "data.jsonl"));
    const hub = await startHub({
      "models/org/tiny": { files: filesOf(golden(CASE, "model")) },
      "models/me/adapter": { files: filesOf(golden(CASE, "adapter")) },
      "datasets/org/rows": { files: { "train.jsonl": rows, "valid.jsonl": rows } },
    });
    const before = { ...process.env };
    Object.assign(process.env, { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: join(folder, "hub") });
    try {
      const out = join(folder, "out");
      const few = ["--max-steps", "2", "--no-shuffle"];
      const trained = await lowrank(
        "train",
        "--model",
        "org/tiny",
        "--data",
        "org/rows",
        "--out",
        out,
        ...few,
        "--json",
      );
      expect(trained).toMatchObject({ code: 0 });
      expect(readJson(join(out, "adapter_config.json"))).toMatchObject({
        base_model_name_or_path: "org/tiny",
        revision: COMMIT,
      });
      expect(readJson(join(out, "lowrank.json"))["base"]).toMatchObject({ id: "org/tiny", commit: COMMIT });
      await hub.close();
      process.env["HF_HUB_OFFLINE"] = "1";
      const missing = await lowrank("adapter", "info", "me/adapter", "--json");
      expect(missing).toMatchObject({ code: 1 });
      expect(missing.stderr).toContain("not in the cache");
      const evaluated = await lowrank(
        "eval",
        "--model",
        "org/tiny",
        "--data",
        "org/rows",
        "--adapter",
        `mine=${out}@0.5`,
        "--json",
      );
      expect(evaluated).toMatchObject({ code: 0, stderr: "" }); // no warning of another base
    } finally {
      process.env = before;
    }
  }));

test("an adapter by its id, with a weight; a folder of that name wins", () =>
  inScratch(async (folder) => {
    const hub = await startHub({ "models/me/adapter": { files: filesOf(golden(CASE, "adapter")) } });
    const before = { ...process.env };
    Object.assign(process.env, { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: join(folder, "hub") });
    try {
      const given = ["eval", "--model", golden(CASE, "model"), "--data", golden(CASE, "data.jsonl"), "--json"];
      const [byId, byPath] = await Promise.all([
        lowrank(...given, "--adapter", "me/adapter@main@0.25"),
        lowrank(...given, "--adapter", `${golden(CASE, "adapter")}@0.25`),
      ]);
      expect(byId.code).toBe(0);
      expect(byId.events[0]!["loss"]).toBe(byPath.events[0]!["loss"]);
      const info = await lowrank("adapter", "info", "me/adapter", "--json");
      expect(info.events[0]).toMatchObject({ type: "LORA" });
      cpSync(golden(CASE, "adapter"), join(folder, "local"), { recursive: true });
      const unknown = await lowrank(...given, "--adapter", "me/adaptr");
      expect(unknown).toMatchObject({
        code: 1,
        stderr: expect.stringContaining("no such folder here, and no such repository"),
      });
    } finally {
      process.env = before;
      await hub.close();
    }
  }));

test("an adapter is uploaded with its card, and loads again from there", () =>
  inScratch(async (folder) => {
    const hub = await startHub({});
    const before = { ...process.env };
    Object.assign(process.env, { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: join(folder, "hub"), HF_TOKEN: "hf_write" });
    try {
      const adapter = golden(CASE, "trained");
      const pushed = await lowrank("adapter", "push", adapter, "me/tuned", "--private", "--json");
      expect(pushed).toMatchObject({ code: 0, events: [{ url: `${hub.endpoint}/me/tuned`, commit: COMMIT }] });
      expect(hub.created).toEqual({ "me/tuned": true });
      const [commit] = hub.commits;
      expect(commit).toMatchObject({ repository: "me/tuned", title: "Upload adapter" });
      const weights = readFileSync(join(adapter, "adapter_model.safetensors"));
      expect(Buffer.from(commit!.files.get("adapter_model.safetensors")!)).toEqual(weights);
      expect(new TextDecoder().decode(commit!.files.get("README.md"))).toContain("library_name: peft");
      const again = await lowrank("adapter", "push", adapter, "me/tuned", "--message", "Second", "--json");
      expect(again.code).toBe(0); // the repository is there: a new commit
      expect(hub.commits.map(({ title }) => title)).toEqual(["Upload adapter", "Second"]);
      process.env["HF_TOKEN"] = "hf_read";
      const refused = await lowrank("adapter", "push", adapter, "me/tuned");
      expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("no write access to me/tuned") });
      process.env["HF_TOKEN"] = "";
      const without = await lowrank("adapter", "push", adapter, "me/tuned");
      expect(without).toMatchObject({ code: 2, stderr: expect.stringContaining("set HF_TOKEN") });
    } finally {
      process.env = before;
      await hub.close();
    }
  }));
