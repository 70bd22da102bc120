/**
 * One session for batches of any size. A graph is built for a few probe sizes; every integer in the models that follows
 * the sizes is found by comparing them, fitted as a polynomial of the sizes, and becomes part of an input that each run
 * computes from its sizes. So models and losses are written for plain numbers, and weights are mapped once for all shapes.
 */

import { GraphError } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Dimension, OnnxModel, OnnxNode, ValueType } from "./onnx.ts";

/** The sizes of one batch by name. */
export type Sizes = Readonly<Record<string, number>>;

/** Prefix of what a run is given the sizes under, int64 [1] each. */
export const SIZE_INPUT = "size.";

/** Products of sizes that an integer may be a sum of, with whole factors. */
export type Monomials = readonly (readonly string[])[];

/** An integer as factors of the monomials, or a plain number. */
type Form = readonly number[] | number;

export interface SizedModel {
  readonly model: OnnxModel;
  /** The model's inputs that follow the sizes among `inputs`: lists of extents. */
  lists(inputs: ReadonlyMap<string, Tensor>): ReadonlyMap<string, Tensor>;
}

/**
 * The model for all sizes, from those of `probes`; there must be more probes than monomials. Null when the models differ
 * in more than integers of that form: then each size needs a session of its own.
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
  const typed = (part: "inputs" | "outputs" | "values"): Map<string, ValueType> | null => {
    const types = new Map<string, ValueType>();
    for (const [name, { dtype, shape }] of first[part]) {
      const forms = fitAll(
        models.map((each) => each[part].get(name)!.shape as readonly number[]),
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
  for (const [name, forms] of lists) inputs.set(name, { dtype: "i64", shape: [forms.length] });
  const nodes = first.nodes.map((node) => ({ ...node, inputs: node.inputs.map((name) => renamed.get(name) ?? name) }));
  return {
    model: { ...first, inputs, outputs, values, constants, nodes },
    lists: (fed) => {
      const factors = monomials.map((names) => names.reduce((product, name) => product * sizeOf(fed, name), 1));
      return new Map([...lists].map(([name, forms]) => [name, extents(forms, factors)]));
    },
  };
}

function sizeOf(inputs: ReadonlyMap<string, Tensor>, name: string): number {
  const size = inputs.get(SIZE_INPUT + name);
  if (!size) throw new GraphError(`internal: a run lacks the size ${name}`);
  return Number(size.data[0]);
}

/** The forms' values, given those of the monomials. */
function extents(forms: readonly Form[], monomials: readonly number[]): Tensor {
  const values = forms.map((form) =>
    typeof form === "number" ? form : form.reduce((sum, factor, i) => sum + factor * monomials[i]!, 0),
  );
  return { dtype: "i64", shape: [values.length], data: BigInt64Array.from(values, BigInt) };
}

function sameStructure(a: OnnxModel, b: OnnxModel): boolean {
  const sameNode = (x: OnnxNode, y: OnnxNode): boolean =>
    x.type === y.type &&
    x.inputs.join() === y.inputs.join() &&
    x.outputs.join() === y.outputs.join() &&
    attributesOf(x) === attributesOf(y);
  return (
    a.nodes.length === b.nodes.length &&
    a.nodes.every((node, i) => sameNode(node, b.nodes[i]!)) &&
    (["inputs", "outputs", "values", "constants", "stored"] as const).every(
      (part) => [...a[part].keys()].join() === [...b[part].keys()].join(),
    )
  );
}

function attributesOf({ attributes }: OnnxNode): string {
  return Object.entries(attributes)
    .map(([name, value]) => `${name}=${value}`)
    .join();
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

/** Fits an integer's values at the probes. The probes beyond the number of monomials check the fit. */
function fitter(probes: readonly Sizes[], monomials: Monomials): (values: readonly number[]) => Form | null {
  const rows = probes.map((sizes) =>
    monomials.map((names) => names.reduce((product, name) => product * sizes[name]!, 1)),
  );
  const inverse = inverted(rows.slice(0, monomials.length));
  return (values) => {
    if (values.every((value) => value === values[0])) return values[0]!;
    const factors = inverse.map((row) => Math.round(row.reduce((sum, x, i) => sum + x * values[i]!, 0)));
    const fits = rows.every((row, i) => row.reduce((sum, x, j) => sum + x * factors[j]!, 0) === values[i]);
    return fits ? factors : null;
  };
}

/** Gauss and Jordan with pivoting; the matrix is small and regular by choice of the probes. */
function inverted(matrix: readonly (readonly number[])[]): number[][] {
  const n = matrix.length;
  const a = matrix.map((row, i) => [...row, ...Array.from({ length: n }, (_, j) => (i === j ? 1 : 0))]);
  for (let column = 0; column < n; column++) {
    let pivot = column;
    for (let i = column + 1; i < n; i++) if (Math.abs(a[i]![column]!) > Math.abs(a[pivot]![column]!)) pivot = i;
    [a[column], a[pivot]] = [a[pivot]!, a[column]!];
    const scale = a[column]![column]!;
    a[column] = a[column]!.map((x) => x / scale);
    for (let i = 0; i < n; i++) {
      const factor = a[i]![column]!;
      if (i !== column) a[i] = a[i]!.map((x, j) => x - factor * a[column]![j]!);
    }
  }
  return a.map((row) => row.slice(n));
}

function keyOf(form: Form): string {
  return typeof form === "number" ? `${form}` : form.join("_");
}
