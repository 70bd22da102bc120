/**
 * One session for batches of any size. A graph is built for a few probe sizes; every integer in the models that follows
 * the sizes is found by comparing them, fitted as a multiple of a product of sizes, and becomes part of an input that each run
 * computes from its sizes. So models and losses are written for plain numbers, and weights are mapped once for all shapes.
 */

import { GraphError } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Dimension, OnnxBody, OnnxModel, OnnxNode, ValueType } from "./onnx.ts";

/** The sizes of one batch by name. */
export type Sizes = Readonly<Record<string, number>>;

/** Prefix of what a run is given the sizes under, int64 [1] each. */
export const SIZE_INPUT = "size.";

/** Products of sizes that an integer may follow: a multiple of one of them, plus a number. */
export type Monomials = readonly (readonly string[])[];

/** An integer as `factor` of a monomial, by its index, plus `term`; or a plain number. */
type Form = { readonly monomial: number; readonly factor: number; readonly term: number } | number;

export interface SizedModel {
  readonly model: OnnxModel;
  /** The model's inputs that follow the sizes among `inputs`: lists of extents. */
  lists(inputs: ReadonlyMap<string, Tensor>): ReadonlyMap<string, Tensor>;
}

/**
 * The model for all sizes, from those of `probes`, of which there must be three or more. Null when the models differ in more
 * than integers of that form: then each size needs a session of its own.
 */
export function sizedModel(
  models: readonly OnnxModel[],
  probes: readonly Sizes[],
  monomials: Monomials,
): SizedModel | null {
  const [first] = models as [OnnxModel];
  if (!models.every((each) => sameStructure(first, each))) return null;
  const formOf = fitter(probes, monomials);
  const constants = new Map<string, Tensor>();
  const renamed = new Map<string, string>();
  const lists = new Map<string, readonly Form[]>();
  for (const [name, tensor] of first.constants) {
    const all = models.map((each) => each.constants.get(name)!);
    if (all.every((each) => sameTensor(each, tensor))) {
      constants.set(name, tensor);
      continue;
    }
    if (tensor.dtype !== "i64" || !all.every(({ data }) => data.length === tensor.data.length)) return null;
    const forms = fitAll(
      all.map(({ data }) => Array.from(data, Number)),
      formOf,
    );
    if (!forms) return null;
    const list = `%[${forms.map(keyOf)}]`;
    lists.set(list, forms);
    renamed.set(name, list);
  }
  const body = sizedBody(models, formOf, renamed);
  if (!body) return null;
  const inputs = new Map(body.inputs);
  for (const [name, forms] of lists) inputs.set(name, { dtype: "i64", shape: [forms.length] });
  return {
    model: { ...first, ...body, inputs, constants },
    lists: (fed) => {
      const factors = monomials.map((names) => names.reduce((product, name) => product * sizeOf(fed, name), 1));
      return new Map([...lists].map(([name, forms]) => [name, extents(forms, factors)]));
    },
  };
}

/** Graphs of one structure as one graph: extents become names, constants that follow the sizes those of their lists. */
function sizedBody(
  bodies: readonly OnnxBody[],
  formOf: (values: readonly number[]) => Form | null,
  renamed: ReadonlyMap<string, string>,
): OnnxBody | null {
  const [first] = bodies as [OnnxBody];
  const typed = (part: "inputs" | "outputs" | "values"): Map<string, ValueType> | null => {
    const types = new Map<string, ValueType>();
    for (const [name, { dtype, shape }] of first[part]) {
      const forms = fitAll(
        bodies.map((each) => each[part].get(name)!.shape as readonly number[]),
        formOf,
      );
      if (!forms || forms.length !== shape.length) return null;
      types.set(name, {
        dtype,
        shape: forms.map((form): Dimension => (typeof form === "number" ? form : keyOf(form))),
      });
    }
    return types;
  };
  const [inputs, outputs, values] = [typed("inputs"), typed("outputs"), typed("values")];
  if (!inputs || !outputs || !values) return null;
  const nodes: OnnxNode[] = [];
  for (const [i, node] of first.nodes.entries()) {
    const body =
      node.body &&
      sizedBody(
        bodies.map(({ nodes: all }) => all[i]!.body!),
        formOf,
        renamed,
      );
    if (body === null) return null;
    const names = node.inputs.map((name) => renamed.get(name) ?? name);
    nodes.push({ ...node, inputs: names, ...(body ? { body } : {}) });
  }
  return { nodes, inputs, outputs, values };
}

function sizeOf(inputs: ReadonlyMap<string, Tensor>, name: string): number {
  const size = inputs.get(SIZE_INPUT + name);
  if (!size) throw new GraphError(`internal: a run lacks the size ${name}`);
  return Number(size.data[0]);
}

/** The forms' values, given those of the monomials. */
function extents(forms: readonly Form[], monomials: readonly number[]): Tensor {
  const values = forms.map((form) =>
    typeof form === "number" ? form : form.factor * monomials[form.monomial]! + form.term,
  );
  return { dtype: "i64", shape: [values.length], data: BigInt64Array.from(values, BigInt) };
}

function sameStructure(a: OnnxModel, b: OnnxModel): boolean {
  return sameBody(a, b) && sameNames(a.constants, b.constants) && sameNames(a.stored, b.stored);
}

function sameBody(a: OnnxBody, b: OnnxBody): boolean {
  const sameNode = (x: OnnxNode, y: OnnxNode): boolean =>
    x.type === y.type &&
    sameList(x.inputs, y.inputs) &&
    sameList(x.outputs, y.outputs) &&
    sameAttributes(x.attributes, y.attributes) &&
    (x.body && y.body ? sameBody(x.body, y.body) : !x.body && !y.body);
  return (
    a.nodes.length === b.nodes.length &&
    a.nodes.every((node, i) => sameNode(node, b.nodes[i]!)) &&
    (["inputs", "outputs", "values"] as const).every((part) => sameNames(a[part], b[part]))
  );
}

function sameNames(a: ReadonlyMap<string, unknown>, b: ReadonlyMap<string, unknown>): boolean {
  return sameList([...a.keys()], [...b.keys()]);
}

function sameList<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((each, i) => each === b[i]);
}

function sameAttributes(a: OnnxNode["attributes"], b: OnnxNode["attributes"]): boolean {
  return (
    sameList(Object.keys(a), Object.keys(b)) && Object.entries(a).every(([name, value]) => `${value}` === `${b[name]}`)
  );
}

function sameTensor(a: Tensor, b: Tensor): boolean {
  return (
    a.data.length === b.data.length && a.shape.join() === b.shape.join() && a.data.every((x, i) => x === b.data[i])
  );
}

/** Lists of integers, one a probe, as forms; null when one does not fit. */
function fitAll(
  lists: readonly (readonly number[])[],
  formOf: (values: readonly number[]) => Form | null,
): Form[] | null {
  const forms: Form[] = [];
  for (let i = 0; i < lists[0]!.length; i++) {
    const form = formOf(lists.map((list) => list[i]!));
    if (form === null) return null;
    forms.push(form);
  }
  return forms;
}

/**
 * Fits an integer's values at the probes as a factor of one monomial plus a number. Three probes tell monomials apart whose
 * steps from probe to probe have other ratios, and check the fit.
 */
function fitter(probes: readonly Sizes[], monomials: Monomials): (values: readonly number[]) => Form | null {
  const columns = monomials.map((names) =>
    probes.map((sizes) => names.reduce((product, name) => product * sizes[name]!, 1)),
  );
  return (values) => {
    if (values.every((value) => value === values[0])) return values[0]!;
    for (const [monomial, column] of columns.entries()) {
      const factor = (values[1]! - values[0]!) / (column[1]! - column[0]!);
      const term = values[0]! - factor * column[0]!;
      if (Number.isInteger(factor) && values.every((value, i) => value === factor * column[i]! + term))
        return { monomial, factor, term };
    }
    return null;
  };
}

function keyOf(form: Form): string {
  return typeof form === "number" ? `${form}` : `${form.factor}_${form.monomial}_${form.term}`;
}
