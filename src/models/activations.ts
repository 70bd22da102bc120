/** Activations by the names that config.json files use (transformers `activations.py`). */

import type { Value } from "../graph/graph.ts";
import { gelu, geluTanh, quickGelu, relu, silu, tanh } from "../graph/ops/activation.ts";
import { type RawConfig, readChoice } from "./config.ts";

const ACTIVATIONS: Readonly<Record<string, (x: Value) => Value>> = {
  gelu,
  gelu_new: geluTanh,
  gelu_fast: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  quick_gelu: quickGelu,
  relu,
  silu,
  swish: silu,
  tanh,
};

/** The activation that `field` names; throws ModelError for one that is not known. */
export function readActivation(config: RawConfig, field: string, fallback: string): string {
  return readChoice(config, field, Object.keys(ACTIVATIONS), fallback);
}

export function activate(name: string, x: Value): Value {
  return ACTIVATIONS[name]!(x);
}
