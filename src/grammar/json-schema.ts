/**
 * JSON schemas as grammars: every text of the grammar is an instance of the schema. What cannot be held to is refused by
 * name rather than passed over.
 *
 * Members come in the order of `properties`, as OpenAI's structured outputs have them. An object with `properties` takes
 * no others unless `additionalProperties` says so.
 */

import { UsageError } from "../errors.ts";
import {
  CHARACTER,
  COMMA,
  escaped,
  JSON_RULES,
  listOf,
  member,
  membersOf,
  objectOf,
  otherString,
  quoted,
  SPACE,
} from "./json.ts";
import { choice, type Grammar, type GrammarNode, repeat, rule, sequence, text } from "./node.ts";
import { decimalBetween, wholeBetween } from "./number-range.ts";
import { parsePattern } from "./regex.ts";

type Schema = Readonly<Record<string, unknown>>;

/** Keywords that say nothing about which instances there are, or that are read wherever they stand. */
const NOTES = [
  ...["$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples"],
  ...["deprecated", "readOnly", "writeOnly", "contentMediaType", "contentEncoding", "discriminator", "strict", "name"],
];
const OF_TYPE: Readonly<Record<string, readonly string[]>> = {
  object: ["properties", "required", "additionalProperties", "propertyNames"],
  array: ["items", "prefixItems", "minItems", "maxItems"],
  string: ["minLength", "maxLength", "pattern", "format"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
  integer: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
  boolean: [],
  null: [],
};
const TYPES = Object.keys(OF_TYPE);

/** Formats that are held to; others are notes, as the standard has them. */
const DATE = "\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])";
const TIME = "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)";
const BYTE = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE}T${TIME}`,
  uuid: "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
  ipv4: `${BYTE}(\\.${BYTE}){3}`,
};

/** Throws UsageError that names the place of what cannot be held to. */
export function schemaGrammar(schema: unknown): Grammar {
  const rules = new Map(JSON_RULES);
  const named = new Map<string, string>(); // pointer → rule
  const refuse = (at: string, problem: string): never => {
    throw new UsageError(`The JSON schema at ${at || "its root"}: ${problem}.`);
  };

  const node = (given: unknown, at: string): GrammarNode => {
    if (given === true) return rule("any");
    if (!isObject(given)) return refuse(at, `found ${JSON.stringify(given)}, an object is needed`);
    if ("$ref" in given) return reference(given, at);
    for (const key of ["anyOf", "oneOf", "allOf"] as const) if (key in given) return combined(given, key, at);
    if ("const" in given) return values(given, [given["const"]], at);
    if ("enum" in given) return values(given, given["enum"], at);
    const types = typesOf(given, at);
    allow(given, [...types.flatMap((type) => OF_TYPE[type]!), "type", "nullable"], at);
    const nodes = types.length === 0 ? [rule("any")] : types.map((type) => ofType(type, given, at));
    if (given["nullable"] === true) nodes.push(text("null"));
    return nodes.length === 1 ? nodes[0]! : choice(...nodes);
  };

  /** Refuses every keyword that is neither a note nor one of these. */
  const allow = (given: Schema, keys: readonly string[], at: string): void => {
    for (const key of Object.keys(given)) {
      if (!keys.includes(key) && !NOTES.includes(key)) refuse(at, `${JSON.stringify(key)} is not supported here`);
    }
  };

  const typesOf = (given: Schema, at: string): readonly string[] => {
    const type = given["type"] ?? TYPES.find((each) => OF_TYPE[each]!.some((key) => key in given));
    if (type === undefined) return [];
    const types = [type].flat();
    const unknown = types.find((each) => typeof each !== "string" || !TYPES.includes(each));
    if (unknown !== undefined) refuse(at, `the type ${JSON.stringify(unknown)} is unknown`);
    return types as string[];
  };

  const ofType = (type: string, given: Schema, at: string): GrammarNode => {
    switch (type) {
      case "object":
        return object(given, at);
      case "array":
        return array(given, at);
      case "string":
        return string(given, at);
      case "boolean":
        return choice(text("true"), text("false"));
      case "null":
        return text("null");
      default:
        return number(given, type === "integer", at);
    }
  };

  const reference = (given: Schema, at: string): GrammarNode => {
    allow(given, ["$ref"], at);
    const pointer = given["$ref"];
    if (typeof pointer !== "string" || !/^#(\/|$)/.test(pointer)) {
      return refuse(at, `$ref is ${JSON.stringify(pointer)}; needed is a place in the schema: #/$defs/NAME`);
    }
    const found = named.get(pointer);
    if (found !== undefined) return rule(found);
    const name = `$${named.size}`;
    named.set(pointer, name);
    let target: unknown = schema;
    for (const part of pointer.split("/").slice(1)) {
      const key = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
      const inside: unknown = target;
      if (typeof inside !== "object" || inside === null || !Object.hasOwn(inside, key)) {
        return refuse(at, `there is no ${pointer}`);
      }
      target = (inside as Schema)[key];
    }
    rules.set(name, node(target, pointer));
    return rule(name);
  };

  const combined = (given: Schema, key: "anyOf" | "oneOf" | "allOf", at: string): GrammarNode => {
    const parts = given[key];
    allow(given, [key, "type"], at);
    if (!Array.isArray(parts) || parts.length === 0) return refuse(at, `${key} is no list of schemas`);
    if (key === "allOf" && parts.length > 1) return refuse(at, "allOf of several schemas is not supported");
    return choice(...parts.map((part: unknown, i) => node(part, `${at}/${key}/${i}`)));
  };

  const values = (given: Schema, list: unknown, at: string): GrammarNode => {
    allow(given, ["const", "enum", "type"], at);
    if (!Array.isArray(list) || list.length === 0) return refuse(at, "enum is no list of values");
    return choice(...list.map((value: unknown) => text(JSON.stringify(value))));
  };

  const object = (given: Schema, at: string): GrammarNode => {
    const properties = given["properties"] ?? {};
    const required = given["required"] ?? [];
    if (!isObject(properties)) return refuse(at, "properties is no object");
    if (!Array.isArray(required)) return refuse(at, "required is no list");
    const { type: keyType = "string", ...keyRules } = (given["propertyNames"] ?? {}) as Schema;
    if (keyType !== "string" || Object.keys(keyRules).length > 0)
      return refuse(at, "propertyNames is not supported here");
    const names = Object.keys(properties);
    const missing = required.find((name: unknown) => typeof name !== "string" || !names.includes(name));
    if (missing !== undefined)
      return refuse(at, `${JSON.stringify(missing)} is required, but not among the properties`);
    const more = given["additionalProperties"] ?? names.length === 0;
    const others =
      more === false
        ? null
        : member(names.length === 0 ? rule("string") : otherString(names), node(more, `${at}/additionalProperties`));
    if (names.length === 0) return others ? objectOf(membersOf(others)) : objectOf(text(""));
    // A rule for what may follow the first i members, with one before it or without.
    const id = rules.size;
    const tail = (i: number, begun: boolean): GrammarNode => rule(`${id}.${i}.${begun}`);
    for (const begun of [true, false]) {
      const before = begun ? COMMA : text("");
      const rest = others
        ? [sequence(before, others, repeat(sequence(COMMA, others), 0, Number.POSITIVE_INFINITY), SPACE)]
        : [];
      rules.set(`${id}.${names.length}.${begun}`, choice(begun ? SPACE : text(""), ...rest));
    }
    for (const [i, name] of names.entries()) {
      const own = member(text(JSON.stringify(name)), node(properties[name], `${at}/properties/${name}`));
      rules.set(`${id}:${i}`, own);
      for (const begun of [true, false]) {
        const taken = sequence(begun ? COMMA : text(""), rule(`${id}:${i}`), tail(i + 1, true));
        rules.set(`${id}.${i}.${begun}`, required.includes(name) ? taken : choice(taken, tail(i + 1, begun)));
      }
    }
    return objectOf(tail(0, false));
  };

  const array = (given: Schema, at: string): GrammarNode => {
    const least = count(given, "minItems", 0, at);
    const most = count(given, "maxItems", Number.POSITIVE_INFINITY, at);
    if (most < least) return refuse(at, "maxItems is below minItems");
    const prefix = given["prefixItems"];
    if (prefix === undefined) {
      if (given["items"] === false) return listOf(rule("any"), 0, 0);
      return listOf(node(given["items"] ?? true, `${at}/items`), least, most);
    }
    if (!Array.isArray(prefix) || prefix.length === 0) return refuse(at, "prefixItems is no list of schemas");
    const items = given["items"] ?? false;
    if (items !== false || least > prefix.length || most < prefix.length) {
      return refuse(at, "prefixItems beside other items is not supported");
    }
    const parts = prefix.map((each: unknown, i) => node(each, `${at}/prefixItems/${i}`));
    return sequence(
      text("["),
      SPACE,
      ...parts.flatMap((part, i) => (i === 0 ? [part] : [COMMA, part])),
      SPACE,
      text("]"),
    );
  };

  const string = (given: Schema, at: string): GrammarNode => {
    const least = count(given, "minLength", 0, at);
    const most = count(given, "maxLength", Number.POSITIVE_INFINITY, at);
    const { pattern, format } = given;
    const limited = least > 0 || most < Number.POSITIVE_INFINITY;
    if (pattern !== undefined) {
      if (typeof pattern !== "string") return refuse(at, "pattern is no text");
      if (limited) return refuse(at, "pattern beside minLength or maxLength is not supported: put the length into it");
      const { node: inside, fromStart, toEnd } = parsePattern(pattern);
      const any = repeat(CHARACTER, 0, Number.POSITIVE_INFINITY);
      return quoted(sequence(...(fromStart ? [] : [any]), escaped(inside), ...(toEnd ? [] : [any])));
    }
    if (typeof format === "string" && Object.hasOwn(FORMATS, format))
      return quoted(parsePattern(FORMATS[format]!).node);
    return limited ? quoted(repeat(rule("character"), least, most)) : rule("string");
  };

  const number = (given: Schema, whole: boolean, at: string): GrammarNode => {
    const bound = (key: string): number | null => {
      const value = given[key];
      if (value === undefined) return null;
      if (typeof value !== "number") return refuse(at, `${key} is no number`);
      if (!whole && !Number.isInteger(value)) return refuse(at, `${key} is ${value}; only whole bounds are supported`);
      if (Math.abs(value) >= 10 ** 16) return null; // beyond what is written here at all
      return value;
    };
    const [least, most] = [bound("minimum"), bound("maximum")];
    const [above, below] = [bound("exclusiveMinimum"), bound("exclusiveMaximum")];
    if (least === null && most === null && above === null && below === null) return rule(whole ? "integer" : "number");
    if (whole) {
      const from = Math.max(Math.ceil(least ?? -Infinity), Math.floor(above ?? -Infinity) + 1);
      const to = Math.min(Math.floor(most ?? Infinity), Math.ceil(below ?? Infinity) - 1);
      if (from > to) return refuse(at, "no number lies between its bounds");
      return wholeBetween({ least: from, most: to });
    }
    const from = Math.max(least ?? -Infinity, above ?? -Infinity);
    const to = Math.min(most ?? Infinity, below ?? Infinity);
    const without = { withoutLeast: above === from, withoutMost: below === to };
    if (from > to || (from === to && (without.withoutLeast || without.withoutMost))) {
      return refuse(at, "no number lies between its bounds");
    }
    return decimalBetween({ least: from, most: to }, without);
  };

  const count = (given: Schema, key: string, otherwise: number, at: string): number => {
    const value = given[key] ?? otherwise;
    if (value === otherwise || (typeof value === "number" && Number.isInteger(value) && value >= 0))
      return value as number;
    return refuse(at, `${key} is ${JSON.stringify(value)}, a whole number from 0 is needed`);
  };

  return { root: node(schema, ""), rules };
}

/** Any JSON object. */
export function jsonGrammar(): Grammar {
  return { root: rule("object"), rules: new Map(JSON_RULES) };
}

function isObject(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
