/** Reading config.json: typed fields, defaults beside them, and a refusal by name of what is not understood. */

import { ModelError } from "../errors.ts";

export type RawConfig = Readonly<Record<string, unknown>>;

/** A whole number greater than 0; `fallback` when the field is absent or null. */
export function readSize(config: RawConfig, field: string, fallback?: number): number {
  const value = config[field] ?? fallback;
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1) {
    throw new ModelError(`config.json: ${field} is ${JSON.stringify(value)}, needed a whole number above 0`);
  }
  return value;
}

export function readNumber(config: RawConfig, field: string, fallback: number): number {
  const value = config[field] ?? fallback;
  if (typeof value !== "number")
    throw new ModelError(`config.json: ${field} is ${JSON.stringify(value)}, needed a number`);
  return value;
}

/** A rate of dropout: from 0, less than 1. */
export function readRate(config: RawConfig, field: string, fallback: number): number {
  const value = readNumber(config, field, fallback);
  if (value >= 0 && value < 1) return value;
  throw new ModelError(`config.json: ${field} is ${value}, needed a rate from 0, less than 1`);
}

export function readFlag(config: RawConfig, field: string, fallback: boolean): boolean {
  const value = config[field] ?? fallback;
  if (typeof value !== "boolean")
    throw new ModelError(`config.json: ${field} is ${JSON.stringify(value)}, needed true or false`);
  return value;
}

export function readChoice<T extends string>(config: RawConfig, field: string, choices: readonly T[], fallback: T): T {
  const value = config[field] ?? fallback;
  const found = choices.find((choice) => choice === value);
  if (found === undefined) {
    throw new ModelError(
      `config.json: ${field} ${JSON.stringify(value)} is not known; known are ${choices.join(", ")}`,
    );
  }
  return found;
}

/** Throws unless `field` is absent, null or one of `allowed`: for options whose other values change the computation. */
export function refuseUnless(config: RawConfig, field: string, allowed: readonly unknown[]): void {
  const value = config[field];
  if (value !== undefined && value !== null && !allowed.includes(value)) {
    throw new ModelError(
      `config.json: ${field} ${JSON.stringify(value)} is not supported; supported: ${allowed.map((each) => JSON.stringify(each)).join(", ")}`,
    );
  }
}

/** Classes of a classification head: `num_labels`, or as many as `id2label` names; transformers' default is 2. */
export function readLabelCount(config: RawConfig): number {
  const names = config["id2label"];
  return readSize(config, "num_labels", typeof names === "object" && names !== null ? Object.keys(names).length : 2);
}
