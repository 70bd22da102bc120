/** Reading configurations and choosing targets: what is taken, what is refused, and how the refusal reads. */

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createAdapter, loadAdapter } from "../../src/adapters/adapter.ts";
import { knownMethods, parseAdapterConfig } from "../../src/adapters/bind.ts";
import { openPeftFolder, savePeftFolder } from "../../src/adapters/peft-folder.ts";
import { selectTargets } from "../../src/adapters/targets.ts";
import { AdapterMismatchError } from "../../src/errors.ts";
import { caseFolder, openCase } from "../goldens/harness.ts";

const llama = openCase("llama-dora");
const gpt2 = openCase("gpt2-c_attn");
const lora = (fields: Record<string, unknown>) => parseAdapterConfig({ peft_type: "LORA", ...fields }, "here");

describe("targets", () => {
  const names = (rules: Parameters<typeof selectTargets>[1], golden = llama, strict = true): string[] =>
    selectTargets(golden.trace, rules, { strict }).map(({ name }) => name.replace(/^.*layers\./, ""));

  test("a list matches whole names and ends after a dot, never parts of a word", () => {
    expect(names({ target_modules: ["q_proj"] })).toEqual(["0.self_attn.q_proj", "1.self_attn.q_proj"]);
    expect(() => names({ target_modules: ["proj"] })).toThrow(/proj match nothing.*q_proj/s);
  });
  test("a string is an expression for the whole name", () => {
    expect(names({ target_modules: ".*\\.1\\..*(q|v)_proj" })).toEqual(["1.self_attn.q_proj", "1.self_attn.v_proj"]);
    expect(() => names({ target_modules: "q_proj" })).toThrow(/match nothing/);
    expect(() => names({ target_modules: "(" })).toThrow(/not a regular expression/);
  });
  test("all-linear leaves out the head and the embeddings", () => {
    expect(names({ target_modules: "all-linear" })).toHaveLength(14);
    expect(names({ target_modules: "all-linear" }, gpt2)).toHaveLength(8);
  });
  test("exclude_modules wins, and layers_to_transform picks layers", () => {
    expect(names({ target_modules: ["q_proj", "down_proj"], exclude_modules: ["mlp.down_proj"] })).toHaveLength(2);
    expect(names({ target_modules: ["q_proj"], layers_to_transform: [1] })).toEqual(["1.self_attn.q_proj"]);
    expect(names({ target_modules: ["q_proj"], layers_to_transform: 0, layers_pattern: "layers" })).toEqual([
      "0.self_attn.q_proj",
    ]);
    expect(() => names({ target_modules: ["q_proj"], layers_to_transform: [7] })).toThrow(/leave no target/);
  });
  test("a name beside valid ones that matches nothing is an error for new adapters and passes for trained ones", () => {
    const rules = { target_modules: ["q_proj", "c_attn"] };
    expect(() => names(rules)).toThrow(/c_attn match nothing/);
    expect(names(rules, llama, false)).toHaveLength(2);
  });
});

describe("configurations", () => {
  test("defaults are PEFT's", () => {
    expect(lora({})).toMatchObject({ r: 8, lora_alpha: 8, lora_dropout: 0, bias: "none", init_lora_weights: true });
  });
  test("every method that is known has a parser", () => {
    for (const peft_type of knownMethods()) expect(parseAdapterConfig({ peft_type }, "here").peft_type).toBe(peft_type);
  });
  test("fields of a wrong type are all named, with the file", () => {
    expect(() => lora({ r: 0, lora_alpha: "x" })).toThrow(/here: r: .*lora_alpha: /s);
  });
  test("options that would change the computation are refused by name, their defaults and unknown fields pass", () => {
    expect(() => lora({ use_bdlora: { a: 1 }, lora_bias: true })).toThrow(/lora_bias true, use_bdlora/);
    expect(() => lora({ alora_invocation_tokens: [1, 2] })).toThrow(/alora_invocation_tokens/);
    expect(lora({ lora_bias: false, layer_replication: null, loftq_config: {}, not_yet_invented: 3 })).toBeTruthy();
  });
  test("an unknown method names the known ones", () => {
    expect(() => parseAdapterConfig({ peft_type: "OFT" }, "here")).toThrow(/"OFT" is not known.*LORA, IA3/);
  });
  test("a name in modules_to_save that the model lacks is an error, unless PEFT adds it for the task", () => {
    const make = (fields: Record<string, unknown>) =>
      createAdapter(lora({ target_modules: ["q_proj"], ...fields }), llama.model, llama.trace, 0);
    expect(() => make({ modules_to_save: ["lm_heads"] })).toThrow(/lm_heads match nothing/);
    expect(make({ task_type: "SEQ_CLS" }).config.modules_to_save).toEqual(["classifier", "score"]);
  });
});

describe("files", () => {
  const work = (use: (folder: string) => void): void => {
    const folder = mkdtempSync(join(tmpdir(), "lowrank-adapter-"));
    try {
      use(folder);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };

  test("what is written is read again, and writing it once more gives the same bytes", () => {
    work((folder) => {
      savePeftFolder(join(folder, "a"), llama.adapter);
      const again = loadAdapter(openPeftFolder(join(folder, "a")), llama.model, llama.trace);
      savePeftFolder(join(folder, "b"), again);
      for (const file of ["adapter_config.json", "adapter_model.safetensors"]) {
        expect(readFileSync(join(folder, "b", file))).toEqual(readFileSync(join(folder, "a", file)));
      }
      const theirs = JSON.parse(readFileSync(join(caseFolder("llama-dora"), "adapter/adapter_config.json"), "utf8"));
      expect(JSON.parse(readFileSync(join(folder, "a/adapter_config.json"), "utf8"))).toEqual(theirs);
    });
  });

  test("an adapter of another model: one message lists everything that does not fit", () => {
    const folder = openPeftFolder(join(caseFolder("llama-dora"), "adapter"));
    const other = { ...folder, config: lora({ r: 2, target_modules: ["q_proj", "o_proj"] }) };
    let thrown: unknown;
    try {
      loadAdapter(other, llama.model, llama.trace);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(AdapterMismatchError);
    const { mismatches, message } = thrown as AdapterMismatchError;
    // Two layers: A and B of q_proj have another rank, o_proj lacks both, magnitudes and two other targets are left over.
    expect(mismatches).toHaveLength(2 * (2 + 2 + 1 + 3 + 3));
    expect(message).toContain("q_proj.lora_A.weight: adapter has [4,32], the model needs [2,32]");
    expect(message).toContain("o_proj.lora_B.weight: missing, the model needs [32,2]");
    expect(message).toContain("lora_magnitude_vector: the model has no place for it");
    expect(message).toContain("and 2 more");
  });

  test("a copy of the base's embedding passes only if it is the base's", () => {
    const golden = openCase("llama-embedding-lora");
    const other = openCase("llama-dora");
    const folder = openPeftFolder(join(caseFolder("llama-embedding-lora"), "adapter"));
    expect(loadAdapter(folder, golden.model, golden.trace).method.parameters.size).toBe(10);
    expect(() => loadAdapter(folder, other.model, other.trace)).toThrow(/base_layer.weight: .*not the model's/);
  });

  test("a configuration without a base name is read", () => {
    work((folder) => {
      cpSync(join(caseFolder("llama-ia3"), "adapter"), folder, { recursive: true });
      const path = join(folder, "adapter_config.json");
      const fields = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
      writeFileSync(path, JSON.stringify({ ...fields, base_model_name_or_path: null }));
      expect(openPeftFolder(folder).config.base_model_name_or_path).toBeNull();
    });
  });
});
