/** Class labels of rows and words: indices and names, checked against the model. */

import { DataError } from "../errors.ts";
import { IGNORED } from "./example.ts";
import { kindOf } from "./json-values.ts";

export interface LabelReader {
  /** A class index: a whole number in range, or a known name. Throws a DataError beginning with `where`. */
  classOf(value: unknown, where: string): number;
  /** The same, or {@link IGNORED}. */
  tagOf(value: unknown, where: string): number;
  /** A 0 or 1 for each class: given as such, or as the names of those that hold. */
  hotOf(value: unknown, where: string): number[];
  /** Names by index, when the rows or the model name their classes. */
  classes(): string[] | undefined;
}

/**
 * @param names from the model's `label2id`. Its placeholders (LABEL_0, LABEL_1…) count as none: then the names found in
 *   `found` are the classes, sorted.
 * @param count how many outputs the model has, when that is settled.
 */
export function labelReader(
  names: ReadonlyMap<string, number> | undefined,
  count: number | undefined,
  found: ReadonlySet<string>,
  file: string,
): LabelReader {
  const given = names !== undefined && ![...names.keys()].every((name) => /^LABEL_\d+$/.test(name)) ? names : undefined;
  const placeholders = names !== undefined && found.size > 0 && [...found].every((name) => names.has(name));
  const own = new Map([...found].sort((a, b) => (a < b ? -1 : 1)).map((name, index) => [name, index]));
  const known = given ?? (placeholders ? names : own.size > 0 ? own : undefined);
  if (known === own && count !== undefined && own.size > count) {
    throw new DataError(
      `${file}: the rows name ${own.size} classes (${listed(own.keys())}), the model has ${count} outputs. ` +
        `Correct the labels, or set num_labels in the model's config.json to ${own.size}.`,
    );
  }

  const classOf = (value: unknown, where: string): number => {
    if (typeof value === "string") {
      const index = known?.get(value);
      if (index !== undefined) return index;
      throw new DataError(
        `${where}: the label "${value}" is no class of the model. Known are ${listed((known ?? []).keys())}.`,
      );
    }
    if (typeof value !== "number") {
      const several = Array.isArray(value) ? " For several labels a row use --task multi-label-classification." : "";
      throw new DataError(`${where}: a label is ${kindOf(value)}, a class index or a class name is needed.${several}`);
    }
    if (!Number.isInteger(value)) {
      throw new DataError(
        `${where}: the label ${value} is not a whole number, a class index is needed. For real values use --task regression.`,
      );
    }
    if (value < 0 || (count !== undefined && value >= count)) {
      const range = count === undefined ? "0 or more" : `0 to ${count - 1} (the model has ${count} outputs)`;
      throw new DataError(
        `${where}: the class index ${value} is out of range, ${range} is needed. Correct the label, or num_labels in config.json.`,
      );
    }
    if (known === own)
      throw new DataError(
        `${where}: the label ${value} is a number, other rows have names (${listed(own.keys())}). Use one kind.`,
      );
    return value;
  };

  let width = count ?? known?.size; // of the first row, when nothing else tells
  const hotOf = (value: unknown, where: string): number[] => {
    if (!Array.isArray(value)) {
      throw new DataError(
        `${where}: the label is ${kindOf(value)}, a list is needed: a 0 or 1 for each class, or the names of those that hold.`,
      );
    }
    if (known !== undefined && value.every((each) => typeof each === "string")) {
      const hot = new Array<number>(width ?? known.size).fill(0);
      for (const name of value) hot[classOf(name, where)] = 1;
      return hot;
    }
    const bad = value.findIndex((each) => each !== 0 && each !== 1);
    if (bad !== -1) throw new DataError(`${where}: label[${bad}] is ${JSON.stringify(value[bad])}, 0 or 1 is needed.`);
    width ??= value.length;
    if (value.length === width) return value as number[];
    throw new DataError(`${where}: label has ${value.length} entries, one for each of ${width} classes is needed.`);
  };

  return {
    classOf,
    hotOf,
    tagOf: (value, where) => (value === IGNORED ? IGNORED : classOf(value, where)),
    classes: () => {
      if (known === undefined) return undefined;
      const byIndex: string[] = [];
      for (const [name, index] of known) byIndex[index] = name;
      return byIndex;
    },
  };
}

/** The first names of a list, for messages. */
function listed(names: Iterable<unknown>): string {
  const all = [...names];
  return `${all.slice(0, 12).join(", ")}${all.length > 12 ? ` and ${all.length - 12} more` : ""}`;
}
