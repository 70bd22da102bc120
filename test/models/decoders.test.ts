/** Decoder models against transformers and PEFT: logits, loss and every gradient of the golden cases. */

import { describe, expect, test } from "vitest";
import type { ArchitectureFacts } from "../../src/models/architecture.ts";
import type { RawConfig } from "../../src/models/config.ts";
import { openModel } from "../../src/models/open.ts";
import { findArchitecture } from "../../src/models/registry.ts";
import { caseErrors, caseFolder, expectWithin, openCase } from "../goldens/harness.ts";

test.each([
  "gpt2-c_attn",
  "gpt2-all-linear-rslora",
  "llama-gqa-tied",
  "llama-untied-patterns",
  "mistral-window",
  "qwen2",
  "qwen2-window",
  "qwen2-seqcls",
  "qwen3",
  "gemma",
  "gemma2",
  "gemma3",
  "gemma3-ropes",
  "phi3",
  "phi3-partial",
  "phi3-longrope-short",
  "phi3-longrope-long",
  "smollm3",
  "olmo2",
  "gpt-neox",
  "gpt-neox-serial",
  "phi",
  "rope-linear",
  "rope-dynamic",
  "rope-yarn",
  "rope-llama3",
])("%s: logits, loss and every gradient are those of transformers and PEFT", async (name) => {
  expectWithin(await caseErrors(openCase(name)));
});

test.each(["mistral-window", "gemma3", "rope-dynamic"])(
  "%s: rows laid end to end in one stream give the same numbers",
  async (name) => {
    expectWithin(await caseErrors(openCase(name), { streams: { B: 1, T: 64 } }));
  },
);

/** The configuration that a case's config.json is read as, after `change`. */
function configured(
  name: string,
  change: (raw: Record<string, unknown>) => RawConfig = (raw) => raw,
): ArchitectureFacts {
  const { rawConfig } = openModel(`${caseFolder(name)}/model`);
  return findArchitecture(rawConfig["model_type"], "config.json").configure(change({ ...rawConfig }));
}

describe("older spellings of config.json mean the same", () => {
  test.each<[name: string, what: string, change: (raw: Record<string, unknown>) => RawConfig]>([
    [
      "llama-untied-patterns",
      "rope_theta beside rope_scaling null",
      ({ rope_parameters, ...raw }) => ({ ...raw, rope_theta: 500000, rope_scaling: null }),
    ],
    [
      "rope-llama3",
      "rope_scaling",
      ({ rope_parameters, ...raw }) => ({ ...raw, rope_theta: 100, rope_scaling: rope_parameters }),
    ],
    [
      "rope-linear",
      "type for rope_type",
      ({ rope_parameters, ...raw }) => ({ ...raw, rope_theta: 100, rope_scaling: { type: "linear", factor: 3 } }),
    ],
    ["qwen2-window", "max_window_layers for layer_types", ({ layer_types, ...raw }) => raw],
    ["gemma2", "layer_types left out", ({ layer_types, ...raw }) => raw],
    [
      "gemma3-ropes",
      "rope_theta, rope_scaling, rope_local_base_freq and sliding_window_pattern",
      ({ rope_parameters, layer_types, ...raw }) => ({
        ...raw,
        rope_theta: 1000,
        rope_local_base_freq: 50,
        rope_scaling: { rope_type: "linear", factor: 4 },
        sliding_window_pattern: 2,
      }),
    ],
    [
      "phi3-partial",
      "partial_rotary_factor beside rope_theta",
      ({ rope_parameters, ...raw }) => ({ ...raw, rope_theta: 10000, partial_rotary_factor: 0.5 }),
    ],
    [
      "phi3-longrope-long",
      "longrope under its first name",
      ({ rope_parameters, ...raw }) => ({
        ...raw,
        rope_scaling: { ...(rope_parameters as RawConfig), rope_type: "su" },
      }),
    ],
    ["smollm3", "no_rope_layer_interval for no_rope_layers", ({ no_rope_layers, layer_types, ...raw }) => raw],
    [
      "gpt-neox",
      "rotary_pct and rotary_emb_base",
      ({ rope_parameters, ...raw }) => ({ ...raw, rotary_pct: 0.5, rotary_emb_base: 10000 }),
    ],
    [
      "phi",
      "rope_theta and partial_rotary_factor",
      ({ rope_parameters, ...raw }) => ({ ...raw, rope_theta: 10000, partial_rotary_factor: 0.5 }),
    ],
    ["gemma", "gelu for the tanh formula", (raw) => ({ ...raw, hidden_act: "gelu" })],
  ])("%s: %s", (name, _what, change) => {
    expect(configured(name, change)).toEqual(configured(name));
  });
});

describe("options that would change the computation are refused by name", () => {
  test.each<[name: string, change: RawConfig, message: RegExp]>([
    ["llama-gqa-tied", { hidden_act: "mish" }, /hidden_act "mish" is not known/],
    ["llama-gqa-tied", { pretraining_tp: 2 }, /pretraining_tp 2 is not supported/],
    ["llama-gqa-tied", { rope_scaling: { rope_type: "spiral" } }, /rope scaling "spiral" is not known/],
    ["llama-gqa-tied", { rope_scaling: { rope_type: "linear" } }, /rope scaling "linear" needs the number factor/],
    ["llama-gqa-tied", { rope_parameters: { full_attention: {} } }, /rope_parameters by layer type/],
    ["llama-gqa-tied", { num_key_value_heads: 3 }, /not a multiple of num_key_value_heads 3/],
    ["mistral-window", { layer_types: ["full_attention"] }, /layer_types is not supported/],
    [
      "qwen2",
      { layer_types: ["full_attention", "linear_attention"] },
      /layer_types\[1\] "linear_attention" is not known/,
    ],
    ["qwen2", { layer_types: ["full_attention", "sliding_attention"] }, /sliding_window is null/],
    ["gemma2", { use_bidirectional_attention: true }, /use_bidirectional_attention true is not supported/],
    ["phi3", { rope_scaling: { type: "linear", factor: 2 } }, /rope scaling "linear" is not known for phi3/],
    ["phi3-longrope-long", { rope_scaling: { type: "longrope", short_factor: [1] } }, /needs short_factor, a list of/],
  ])("%s with %j", (name, change, message) => {
    expect(() => configured(name, (raw) => ({ ...raw, ...change }))).toThrow(message);
  });
});
