/**
 * Which modules a method adapts, by PEFT's rules (`tuners/tuners_utils.py`): a list matches whole names or their ends,
 * a string is a regular expression for the whole name, "all-linear" is every linear layer but the model's last.
 */

import { UsageError } from "../errors.ts";
import type { ModelTrace, Module } from "../models/trace.ts";

export interface TargetRules {
  readonly target_modules: string | readonly string[];
  readonly exclude_modules?: string | readonly string[] | null;
  readonly layers_to_transform?: number | readonly number[] | null;
  readonly layers_pattern?: string | readonly string[] | null;
}

/**
 * The modules that `rules` select, in the order of the forward pass. Throws UsageError when an entry of a list, or a
 * whole expression, selects nothing; `strict: false` (files that were trained elsewhere) lets list entries pass.
 */
export function selectTargets(
  trace: ModelTrace,
  rules: TargetRules,
  { strict = true }: { strict?: boolean } = {},
): Module[] {
  const { target_modules: wanted, exclude_modules: excluded } = rules;
  const all = [...trace.modules.values()];
  const named = all.filter((module) =>
    isAllLinear(wanted) ? module.kind === "linear" && !isOutput(module, trace) : matches(module.name, wanted),
  );
  const unmatched = Array.isArray(wanted)
    ? wanted.filter((each) => !all.some(({ name }) => matches(name, [each])))
    : [];
  if (named.length === 0 || (strict && unmatched.length > 0)) {
    const which = Array.isArray(wanted) ? unmatched.join(", ") : JSON.stringify(wanted);
    throw new UsageError(
      `Target modules ${which} match nothing in this model. It has ${listModules(all)}. Name some of these, a regular expression, or all-linear.`,
    );
  }
  const kept = named.filter((module) => !(excluded && matches(module.name, excluded)) && inLayers(module.name, rules));
  if (kept.length === 0) {
    throw new UsageError("exclude_modules and layers_to_transform leave no target module. Loosen one of them.");
  }
  return kept;
}

function isAllLinear(wanted: TargetRules["target_modules"]): boolean {
  return typeof wanted === "string" && wanted.toLowerCase() === "all-linear";
}

/**
 * Whether all-linear leaves a layer out: a language model's scores of the vocabulary, a classifier's of the classes.
 * Poolers and transforms before them are layers like others.
 */
function isOutput({ name, kind, head, spec }: Module, { modules }: ModelTrace): boolean {
  if (kind !== "linear" || !head) return false;
  if (name === "classifier" || name === "score") return true;
  const vocabulary = [...modules.values()].find((module) => module.kind === "embedding");
  const last = [...modules.keys()].at(-1) === name;
  return last && vocabulary?.kind === "embedding" && spec.out === vocabulary.spec.rows;
}

/** Whether a module's name fits a list of names or ends, or a regular expression. */
export function matches(name: string, rule: string | readonly string[]): boolean {
  if (typeof rule === "string") return wholeExpression(rule).test(name);
  return rule.some((each) => name === each || name.endsWith(`.${each}`));
}

/** The value of the first pattern that fits `name`: rank_pattern and alpha_pattern. Keys fit as `(.*\.)?(key)$`. */
export function patternValue(name: string, patterns: Readonly<Record<string, number>>, fallback: number): number {
  const key = Object.keys(patterns).find((pattern) => wholeExpression(`(.*\\.)?(${pattern})`).test(name));
  return key === undefined ? fallback : patterns[key]!;
}

function inLayers(name: string, { layers_to_transform: layers, layers_pattern, target_modules }: TargetRules): boolean {
  if (layers === null || layers === undefined || typeof target_modules === "string") return true;
  const patterns = layers_pattern ? [layers_pattern].flat() : [];
  const found =
    patterns.length === 0
      ? /.*\.[^.]*\.(\d+)\./.exec(name)
      : patterns.map((pattern) => new RegExp(`.*\\.${pattern}\\.(\\d+)\\.`).exec(name)).find((match) => match !== null);
  return found ? [layers].flat().includes(Number(found[1])) : false;
}

function wholeExpression(pattern: string): RegExp {
  try {
    return new RegExp(`^(?:${pattern})$`, "s");
  } catch {
    throw new UsageError(
      `${JSON.stringify(pattern)} is not a regular expression. Give a list of module names, or mend it.`,
    );
  }
}

/** The ends of all module names: "c_attn, c_proj, c_fc". */
function listModules(modules: readonly Module[]): string {
  return [...new Set(modules.map(({ name }) => name.slice(name.lastIndexOf(".") + 1)))].join(", ");
}
