/** Shape and type rules refuse what does not fit, naming the op and what it found. */

import { expect, test } from "vitest";
import { GraphError } from "../../src/errors.ts";
import { input, type Value } from "../../src/graph/graph.ts";
import * as ops from "../../src/graph/ops/index.ts";
import type { DType } from "../../src/tensor/dtype.ts";

const of = (shape: readonly number[], dtype: DType = "f32"): Value => input("x", dtype, shape);

const MISFITS: readonly (readonly [name: string, build: () => unknown, message: string])[] = [
  ["add", () => ops.add(of([2, 3]), of([2])), "Add: [2,3] and [2] do not broadcast"],
  ["mul of two types", () => ops.mul(of([2]), of([2], "i64")), "Mul: element types differ: f32 and i64"],
  ["where", () => ops.where(of([4], "bool"), of([3]), of([3])), "Where: [4], [3] and [3] do not broadcast"],
  ["reshape", () => ops.reshape(of([2, 3]), [4]), "Reshape: [2,3] has not as many elements as [4]"],
  ["expand to fewer", () => ops.expand(of([2, 3]), [1, 3]), "Expand: [2,3] does not broadcast to [1,3]"],
  ["expand", () => ops.expand(of([2]), [3]), "Expand: [2] does not broadcast to [3]"],
  ["matMul", () => ops.matMul(of([2, 3]), of([4, 2])), "MatMul: [2,3] · [4,2]"],
  ["matMul, transposed", () => ops.matMul(of([2, 3]), of([3, 4]), { transB: true }), "MatMul: [2,3] · [3,4]ᵀ"],
  ["matMul, batches", () => ops.matMul(of([2, 2, 3]), of([3, 3, 2])), "MatMul: [2,2,3] · [3,3,2]"],
  ["matMul of a vector", () => ops.matMul(of([3]), of([3, 2])), "MatMul: [3] · [3,2]"],
  ["gemm, c too wide", () => ops.gemm(of([2, 3]), of([3, 4]), of([5])), "Gemm: c [5] beside [2,4]"],
  ["gemm, c too tall", () => ops.gemm(of([1, 3]), of([3, 4]), of([2, 4])), "Gemm: c [2,4] beside [1,4]"],
  ["gemm of batches", () => ops.gemm(of([2, 1, 3]), of([2, 3, 4]), of([4])), "Gemm: c [4] beside [2,1,4]"],
  ["transpose", () => ops.transpose(of([2, 3]), [0, 2, 1]), "Transpose: [2,3] and permutation [0,2,1]"],
  ["slice", () => ops.slice(of([2, 3]), 1, 1, 4), "Slice: 1 to 4 of axis 1 of [2,3]"],
  ["slice of nothing", () => ops.slice(of([2, 3]), 1, 2, 2), "Slice: 2 to 2 of axis 1 of [2,3]"],
  ["concat", () => ops.concat([of([2, 3]), of([3, 3])], 1), "Concat: [3,3] beside [2,3] along axis 1"],
  ["split", () => ops.split(of([2, 6]), [2, 3], 1), "Split: [2,6] along axis 1 into 2 + 3"],
  ["split into unequal thirds", () => ops.split(of([10]), 3, 0), "Split: [10] along axis 0"],
  ["layerNorm", () => ops.layerNorm(of([2, 3]), of([4]), of([4]), 0), "LayerNormalization: [2,3], gain [4]"],
  ["rmsNorm", () => ops.rmsNorm(of([2, 3]), of([2]), 0), "RmsNormalization: [2,3], gain [2]"],
  ["conv2d", () => ops.conv2d(of([1, 2, 4, 4]), of([3, 4, 3, 3])), "Conv: [1,2,4,4] with a kernel of [3,4,3,3]"],
  ["conv2d of too little", () => ops.conv2d(of([1, 2, 2, 4]), of([3, 2, 3, 3])), "Conv: [1,2,2,4] is smaller"],
  ["conv2d, bias", () => ops.conv2d(of([1, 2, 3, 3]), of([3, 2, 3, 3]), of([2])), "Conv: bias [2] for 3 channels"],
  ["groupNorm", () => ops.groupNorm(of([1, 6, 2, 2]), of([6]), of([6]), 4, 0), "GroupNorm: [1,6,2,2] in 4 groups"],
  [
    "attend",
    () => ops.attend(of([1, 2, 4]), of([1, 3, 4]), of([1, 2, 4]), { heads: 2, scale: 1 }),
    "Attention: [1,2,4]",
  ],
  ["resizeNearest", () => ops.resizeNearest(of([2, 4, 4]), [8, 8]), "Resize: [2,4,4] to [8,8]"],
  ["averagePool", () => ops.averagePool(of([1, 1, 3, 4]), 2), "AveragePool: [1,1,3,4] by windows of 2"],
  ["addRows", () => ops.addRows(of([4, 3]), of([2], "i64"), of([2, 3])), "ScatterRows: indices [2]"],
  ["scatterElements", () => ops.scatterElements(of([4, 3]), of([4, 1], "i64"), of([4, 2])), "ScatterElements: [4,1]"],
];

test.each(MISFITS)("%s", (_name, build, message) => {
  expect(build).toThrow(GraphError);
  expect(build).toThrow(message);
});
