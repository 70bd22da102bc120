/** ONNX Runtime in float32 against the oracle: every case forward and backward, and what the lowering adds of its own. */

import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { gradient } from "../../src/autodiff/gradient.ts";
import { constant, input, integers, scalar, stored, type Value } from "../../src/graph/graph.ts";
import { add, cast, conv2d, detach, div, exp, gatherRows, matMul, mul, neg, scale } from "../../src/graph/ops/index.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { toOnnx } from "../../src/runtime/to-onnx.ts";
import type { DType, TypedArray } from "../../src/tensor/dtype.ts";
import { randomStream } from "../../src/tensor/random.ts";
import { sizeOf } from "../../src/tensor/shape.ts";
import type { StoredTensor, Tensor } from "../../src/tensor/tensor.ts";
import { build, cases, weightedLoss } from "./cases.ts";
import { expectClose } from "./close.ts";
import { evaluate, numbersOf } from "./evaluate.ts";

const TOLERANCE = 1e-5;
const CANCELLATION = 1e-6; // 1 - tanh² near saturation holds no more than float32 holds of 1

const ARRAYS: Partial<Record<DType, (data: Float64Array) => TypedArray>> = {
  f64: (data) => data,
  f32: (data) => Float32Array.from(data),
  i64: (data) => BigInt64Array.from(Array.from(data, BigInt)),
  i32: (data) => Int32Array.from(data),
  bool: (data) => Uint8Array.from(data),
  u8: (data) => Uint8Array.from(data),
  i8: (data) => Int8Array.from(data),
};

const tensorOf = ({ dtype, shape }: Value, data: Float64Array): Tensor => ({
  dtype,
  shape,
  data: ARRAYS[dtype]!(data),
});

/** The outputs by name, from inputs of the same names as the graph's. */
async function run(
  outputs: ReadonlyMap<string, Value>,
  inputs: ReadonlyMap<string, Tensor>,
): Promise<ReadonlyMap<string, Tensor>> {
  const session = await nodeRuntime.open(outputs, { threads: 1 });
  try {
    return await session.run(inputs);
  } finally {
    await session.close();
  }
}

const floats = (...values: readonly number[]): Tensor => ({
  dtype: "f32",
  shape: [values.length],
  data: Float32Array.from(values),
});

describe("equals the oracle", () => {
  test.each(cases)("$name", async (each) => {
    const built = build(each);
    const outputs = new Map<string, Value>(built.outputs.map((value, i) => [`output ${i}`, value]));
    let { inputs, data } = built;
    if (each.wrt.length > 0) {
      const weighted = weightedLoss(built);
      ({ inputs, data } = weighted);
      const targets = each.wrt.map((name) => built.inputs.get(name)!);
      gradient(weighted.loss, targets).forEach((dx, i) => {
        outputs.set(`gradient of ${each.wrt[i]}`, dx!);
      });
    }

    const feeds = new Map([...data].map(([name, x]) => [name, tensorOf(inputs.get(name)!, x)]));
    const results = await run(outputs, feeds);
    const expected = evaluate([...outputs.values()], data);
    [...outputs].forEach(([name, value], i) => {
      const result = results.get(name)!;
      expect(result.shape, name).toEqual(value.shape);
      expect(result.dtype, name).toBe(value.dtype);
      expectClose(numbersOf(result), expected[i]!, TOLERANCE, name, CANCELLATION);
    });
  });
});

describe("gradients of convolutions over images so large that they are convolutions themselves", () => {
  test.each([
    ["padded unevenly", [1, 2, 33, 34], [3, 2, 3, 2], { pads: [1, 0, 0, 1] }],
    ["dilated", [2, 1, 32, 33], [2, 1, 2, 3], { dilation: 2, pads: [1, 2, 2, 0] }],
    ["padded by more than the kernel", [1, 1, 32, 32], [1, 1, 2, 2], { pads: [2, 2, 2, 2] }],
    ["stride 2", [1, 1, 33, 32], [2, 1, 3, 3], { stride: 2, pads: [1, 1, 1, 1] }],
  ] as const)("%s", async (_name, shape, kernel, options) => {
    const [x, w] = [input("x", "f32", shape, true), input("w", "f32", kernel)];
    const y = conv2d(x, w, null, options);
    const dy = input("dy", "f32", y.shape);
    const dx = gradient(y, [x], dy)[0]!;
    const random = randomStream(7);
    const data = new Map(
      [x, w, dy].map((value, i): [string, Float64Array] => [
        ["x", "w", "dy"][i]!,
        Float64Array.from({ length: sizeOf(value.shape) }, () => random.normal()),
      ]),
    );
    const values = new Map([x, w, dy].map((value, i) => [["x", "w", "dy"][i]!, value]));
    const feeds = new Map([...data].map(([name, numbers]) => [name, tensorOf(values.get(name)!, numbers)]));
    const found = (await run(new Map([["dx", dx]]), feeds)).get("dx")!;
    expect(found.shape).toEqual(shape);
    expectClose(numbersOf(found), evaluate([dx], data)[0]!, TOLERANCE, "dx", CANCELLATION);
  });
});

describe("outputs", () => {
  test("an output may be an input, and one value may have two names", async () => {
    const x = input("x", "f32", [2]);
    const y = exp(x);
    const outputs = new Map([
      ["same", x],
      ["y", y],
      ["y again", y],
      ["detached", detach(y)],
      ["number", scalar(7)],
    ]);
    const results = await run(outputs, new Map([["x", floats(1, 2)]]));
    expect([...results.keys()]).toEqual([...outputs.keys()]);
    expect(results.get("same")!.data).toEqual(Float32Array.of(1, 2));
    expect(results.get("y")!.data).toEqual(results.get("y again")!.data);
    expect(results.get("y")!.data).toEqual(results.get("detached")!.data);
    expect(results.get("number")!.data).toEqual(Float32Array.of(7));
  });

  test("inputs and outputs may be named like internal values", async () => {
    const [t0, t1] = [input("t0", "f32", [1]), input("t1", "f32", [1])];
    const y = neg(mul(exp(t0), scale(t1, 2)));
    const results = await run(
      new Map([["t2", y]]),
      new Map([
        ["t0", floats(0)],
        ["t1", floats(3)],
      ]),
    );
    expect(results.get("t2")!.data).toEqual(Float32Array.of(-6));
  });

  test("a session runs again with other inputs, and refuses to run without one", async () => {
    const [a, b] = [input("a", "f32", [1]), input("b", "f32", [1])];
    const session = await nodeRuntime.open(new Map([["y", add(a, b)]]), { threads: 1 });
    expect(new Set(session.inputNames)).toEqual(new Set(["a", "b"]));
    for (const value of [1, 5]) {
      const results = await session.run(
        new Map([
          ["a", floats(value)],
          ["b", floats(2)],
        ]),
      );
      expect(results.get("y")!.data).toEqual(Float32Array.of(value + 2));
    }
    await expect(session.run(new Map([["a", floats(1)]]))).rejects.toThrow("lacks the input b");
    await session.close();
  });
});

describe("constants", () => {
  test("equal ones are stored once, whatever they are made by", () => {
    const x = input("x", "f32", [2]);
    const y = add(mul(scale(x, 3), scalar(3)), constant({ dtype: "f32", shape: [], data: Float32Array.of(3) }));
    expect(toOnnx(new Map([["y", y]])).constants.size).toBe(1);
  });

  test("ones of another type, shape or sign of zero are kept apart", async () => {
    const x = input("x", "f32", [1]);
    const outputs = new Map([
      ["f32", add(x, scalar(3))],
      ["f32 [1]", add(x, constant(floats(3)))],
      ["i64 [1]", add(cast(x, "i64"), integers([3]))],
      ["i32 [1]", add(cast(x, "i32"), integers([3], "i32"))],
      ["1 / 0", div(x, scalar(0))],
      ["1 / -0", div(x, scalar(-0))],
    ]);
    expect(toOnnx(outputs).constants.size).toBe(6);
    const results = await run(outputs, new Map([["x", floats(1)]]));
    expect(Array.from(outputs.keys(), (name) => Number(results.get(name)!.data[0]))).toEqual([
      4,
      4,
      4,
      4,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ]);
  });

  test("a large one arrives whole", async () => {
    const data = Float32Array.from({ length: 5000 }, (_, i) => i / 7);
    const y = neg(constant({ dtype: "f32", shape: [50, 100], data: data.subarray() }));
    const results = await run(new Map([["y", y]]), new Map());
    expect(results.get("y")!.data).toEqual(data.map((value) => -value));
  });

  test("a view into a larger buffer is stored as that view", async () => {
    const y = neg(constant({ dtype: "f32", shape: [2], data: Float32Array.of(9, 1, 2, 9).subarray(1, 3) }));
    expect((await run(new Map([["y", y]]), new Map())).get("y")!.data).toEqual(Float32Array.of(-1, -2));
  });
});

describe("stored tensors", () => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "lowrank-graph-")));
  afterAll(() => rmSync(folder, { recursive: true }));

  const VALUES = [1.5, -2, 0.25, 96, -0.0078125, 3]; // exact in every type
  const f32 = Buffer.from(Float32Array.from(VALUES).buffer);
  const bf16 = Buffer.concat(VALUES.map((_, i) => f32.subarray(4 * i + 2, 4 * i + 4))); // the upper halves
  const f16 = Buffer.from(Uint16Array.of(0x3e00, 0xc000, 0x3400, 0x5600, 0xa000, 0x4200).buffer);

  const path = join(folder, "model.safetensors");
  const parts: readonly (readonly [DType, Buffer])[] = [
    ["f32", f32],
    ["f16", f16],
    ["bf16", bf16],
  ];
  const tensors = new Map<DType, StoredTensor>();
  let bytes = Buffer.from("head."); // 5 bytes: every tensor begins at an odd offset
  for (const [dtype, data] of parts) {
    tensors.set(dtype, { dtype, shape: [3, 2], path, offset: bytes.length, byteLength: data.length });
    bytes = Buffer.concat([bytes, data]);
  }
  writeFileSync(path, bytes);

  const weight = (dtype: DType): Value => cast(stored(`weight.${dtype}`, tensors.get(dtype)!), "f32");

  test("f32, f16 and bf16 at odd offsets are mapped and read", async () => {
    const outputs = new Map(parts.map(([dtype]) => [dtype, weight(dtype)] as const));
    const model = toOnnx(outputs);
    expect([...model.stored.values()].map(({ offset }) => offset % 2)).toEqual([1, 1, 1]);
    expect(model.constants.size).toBe(0);
    const results = await run(outputs, new Map());
    for (const [dtype] of parts) expect([...results.get(dtype)!.data], dtype).toEqual(VALUES);
  });

  test.each(parts)("%s: forward, backward and rows of it equal the oracle", async (dtype) => {
    const w = weight(dtype);
    const x = input("x", "f32", [4, 2]);
    const y = mul(matMul(x, w, { transB: true }), matMul(exp(x), w, { transB: true }));
    const [dx] = gradient(y, [x], add(y, y));
    const rows = gatherRows(w, integers([2, 0, 2], "i32"));
    const data = Float64Array.from({ length: 8 }, (_, i) => Math.fround(Math.sin(i)));
    const outputs = new Map([
      ["y", y],
      ["dx", dx!],
      ["rows", rows],
    ]);
    const results = await run(outputs, new Map([["x", tensorOf(x, data)]]));
    const oracle = new Map([
      ["x", data],
      [`weight.${dtype}`, Float64Array.from(VALUES)],
    ]);
    const expected = evaluate([...outputs.values()], oracle);
    [...outputs.keys()].forEach((name, i) => {
      expectClose(numbersOf(results.get(name)!), expected[i]!, TOLERANCE, name);
    });
  });

  test("a 16-bit weight is decoded anew for each reader, through detach too", () => {
    const w = weight("bf16");
    const casts = (y: Value): number => toOnnx(new Map([["y", y]])).nodes.filter(({ type }) => type === "Cast").length;
    expect(casts(add(neg(w), exp(w)))).toBe(2);
    expect(casts(neg(detach(w)))).toBe(1);
  });

  // ONNX Runtime chooses the order: all weights of a base decoded before its first layer would be the whole base in float32.
  test("a 16-bit weight is decoded right before the product that reads it", async () => {
    let y = input("x", "f32", [3, 3]);
    for (let layer = 0; layer < 4; layer++) y = matMul(y, weight("bf16"), { transB: layer % 2 === 1 });
    const profilePrefix = join(folder, "order");
    const session = await nodeRuntime.open(new Map([["y", y]]), { threads: 1, profilePrefix });
    await session.run(new Map([["x", { dtype: "f32", shape: [3, 3], data: new Float32Array(9) }]]));
    await session.close();
    const file = readdirSync(folder).find((name) => name.startsWith("order"))!;
    const events = JSON.parse(readFileSync(join(folder, file), "utf8")) as {
      name: string;
      args?: { op_name?: string };
    }[];
    const ran = events.filter(({ name }) => name.endsWith("_kernel_time")).map(({ args }) => args!.op_name);
    expect(ran.slice(0, 8).join(" ")).toBe("Cast MatMul Cast FusedMatMul Cast MatMul Cast FusedMatMul");
  });
});

test("names of any letters reach the runtime and come back", async () => {
  const name = "größe 漢字 🙂".repeat(20);
  const session = await nodeRuntime.open(new Map([[name, scale(input("ä", "f32", [2]), 2)]]), { threads: 1 });
  const results = await session.run(new Map([["ä", { dtype: "f32", shape: [2], data: Float32Array.of(1, 2) }]]));
  await session.close();
  expect([...results.get(name)!.data]).toEqual([2, 4]);
});
