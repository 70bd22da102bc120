/** Products of small factors, in float64: what merging, norms and conversions of low-rank adapters rest on. */

import type { FloatTensor } from "../tensor/tensor.ts";

/** scale · left [rows, r] · right [r, columns], one row at a time: `visit` sees the row's number and its values. */
export function productRows(
  left: FloatTensor,
  right: FloatTensor,
  scale: number,
  visit: (row: number, values: Float64Array) => void,
): void {
  const [rows = 0, r = 0] = left.shape;
  const columns = right.shape[1]!;
  const values = new Float64Array(columns);
  for (let row = 0; row < rows; row++) {
    values.fill(0);
    for (let k = 0; k < r; k++) {
      const factor = scale * left.data[row * r + k]!;
      const from = k * columns;
      for (let column = 0; column < columns; column++) values[column]! += factor * right.data[from + column]!;
    }
    visit(row, values);
  }
}

/** tensor [rows, columns] + scale · left · right, rounded once. */
export function addProduct(tensor: Float32Array, left: FloatTensor, right: FloatTensor, scale: number): Float32Array {
  const merged = new Float32Array(tensor.length);
  productRows(left, right, scale, (row, values) => {
    const from = row * values.length;
    for (let column = 0; column < values.length; column++)
      merged[from + column] = tensor[from + column]! + values[column]!;
  });
  return merged;
}

/** The transpose of a matrix, copied. */
export function transposed({ shape: [rows = 0, columns = 0], data }: FloatTensor): FloatTensor {
  const turned = new Float32Array(data.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) turned[column * rows + row] = data[row * columns + column]!;
  return { dtype: "f32", shape: [columns, rows], data: turned };
}
