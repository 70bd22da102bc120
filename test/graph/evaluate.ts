/**
 * The oracle: every op from its mathematical definition, in float64, element by element. Integers and booleans are
 * numbers too. Nothing here is shared with the code under test except the order of the nodes.
 */

import { constantOf, inputOf, type Node, storedOf, topological, type Value } from "../../src/graph/graph.ts";
import type { ScanAttributes } from "../../src/graph/ops/turns.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";

interface Numbers {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** What a node computes; `attribute` reads one of its attributes, whose type the caller knows. */
type Rule = (x: readonly Numbers[], attribute: <T>(name: string) => T) => readonly Numbers[];

/** The values, from the data of inputs and stored tensors by name. */
export function evaluate(values: readonly Value[], inputs: ReadonlyMap<string, Float64Array>): Float64Array[] {
  const computed = new Map<Node, readonly Numbers[]>();
  run(topological(values), computed, inputs);
  return values.map(({ node, output }) => computed.get(node)![output]!.data);
}

/** Computes nodes, each after its inputs, from those that are computed already. */
function run(
  nodes: readonly Node[],
  computed: Map<Node, readonly Numbers[]>,
  inputs: ReadonlyMap<string, Float64Array>,
): void {
  const read = ({ node, output }: Value): Numbers => computed.get(node)![output]!;
  for (const node of nodes) {
    const source = node.outputs[0]!;
    const name = (inputOf(source) ?? storedOf(source))?.name;
    const small = constantOf(source);
    let results: readonly Numbers[];
    if (name !== undefined) results = [{ shape: source.shape, data: inputs.get(name)! }];
    else if (small) results = [{ shape: source.shape, data: numbersOf(small.tensor) }];
    else if (node.op.type === "Scan") {
      results = turns(node.attributes as ScanAttributes, node.inputs.map(read), (from) => {
        const inner = new Map(computed);
        (node.attributes as ScanAttributes).body.inputs.forEach((slot, i) => {
          inner.set(slot.node, [from[i]!]);
        });
        run((node.attributes as ScanAttributes).body.nodes, inner, inputs);
        return (node.attributes as ScanAttributes).body.outputs.map((each) => inner.get(each.node)![each.output]!);
      });
    } else {
      const rule = RULES[node.op.type];
      if (!rule) throw new Error(`${node.op.type} has no definition in evaluate.ts`);
      results = rule(node.inputs.map(read), <T>(key: string) => (node.attributes as Record<string, T>)[key]!);
    }
    node.outputs.forEach(({ shape }, i) => {
      const found = results[i]!;
      if (found.data.length !== count(shape) || found.shape.join() !== shape.join()) {
        throw new Error(`${node.op.type}: its shape rule says [${shape}], its definition [${found.shape}]`);
      }
    });
    computed.set(node, results);
  }
}

/** Slice after slice through `turn`: what was held at last, then every result with its turns along a first axis. */
function turns(
  { held, sliced }: ScanAttributes,
  inputs: readonly Numbers[],
  turn: (from: readonly Numbers[]) => readonly Numbers[],
): readonly Numbers[] {
  const parts = inputs.slice(held, held + sliced);
  const length = parts[0]!.shape[0]!;
  let current = inputs.slice(0, held);
  const made: (readonly Numbers[])[] = [];
  for (let at = 0; at < length; at++) {
    const cut = parts.map(({ shape, data }): Numbers => {
      const size = data.length / length;
      return { shape: shape.slice(1), data: data.slice(at * size, (at + 1) * size) };
    });
    const outputs = turn([...current, ...cut]);
    current = outputs.slice(0, held);
    made.push(outputs.slice(held));
  }
  const results = made[0]!.map(
    ({ shape }, i): Numbers => ({
      shape: [length, ...shape],
      data: Float64Array.from(made.flatMap((each) => [...each[i]!.data])),
    }),
  );
  return [...current, ...results];
}

/** The elements of a tensor of any type as numbers. */
export function numbersOf({ dtype, shape, data }: Tensor): Float64Array {
  if (dtype === "u4")
    return Float64Array.from({ length: count(shape) }, (_, i) => (Number(data[i >> 1]) >> (4 * (i & 1))) & 15);
  if (dtype === "bf16")
    return Float64Array.from(new Float32Array(Uint32Array.from(data as Uint16Array, (p) => p << 16).buffer));
  return Float64Array.from(data as ArrayLike<number | bigint>, (x) => (dtype === "f16" ? half(Number(x)) : Number(x)));
}

/** The value of a binary16 pattern. */
function half(pattern: number): number {
  const [sign, exponent, mantissa] = [pattern >> 15 ? -1 : 1, (pattern >> 10) & 31, pattern & 1023];
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25));
}

/** The element at an index of a shape that `x` broadcasts to: missing leading axes are ignored, extents of 1 repeat. */
function at({ shape, data }: Numbers, index: readonly number[]): number {
  const lead = index.length - shape.length;
  let flat = 0;
  for (let axis = 0; axis < shape.length; axis++) {
    flat = flat * shape[axis]! + (shape[axis] === 1 ? 0 : index[axis + lead]!);
  }
  return data[flat]!;
}

/** The tensor whose element at each index is `element(index)`; the index is reused. */
function tensor(shape: readonly number[], element: (index: readonly number[]) => number): Numbers {
  const data = new Float64Array(count(shape));
  eachIndex(shape, (index, flat) => {
    data[flat] = element(index);
  });
  return { shape, data };
}

function eachIndex(shape: readonly number[], visit: (index: readonly number[], flat: number) => void): void {
  const index = shape.map(() => 0);
  const total = count(shape);
  for (let flat = 0; flat < total; flat++) {
    visit(index, flat);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis]!++;
      if (index[axis]! < shape[axis]!) break;
      index[axis] = 0;
    }
  }
}

const count = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

/** NumPy's broadcasting: the largest extent of every axis, aligned at the end. */
function common(...shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) =>
    Math.max(...shapes.map((shape) => shape[axis - rank + shape.length] ?? 1)),
  );
}

function elementwise(f: (...x: number[]) => number): Rule {
  return (x) => [tensor(common(...x.map(({ shape }) => shape)), (index) => f(...x.map((each) => at(each, index))))];
}

function reduction(from: number, f: (sum: number, x: number, share: number) => number): Rule {
  return ([x], attribute) => {
    const axes = attribute<number[]>("axes");
    const kept = x!.shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
    const share = count(kept) / count(x!.shape);
    const out = tensor(kept, () => from);
    eachIndex(x!.shape, (index, flat) => {
      const to = index.reduce((sum, i, axis) => sum * kept[axis]! + (axes.includes(axis) ? 0 : i), 0);
      out.data[to] = f(out.data[to]!, x!.data[flat]!, share);
    });
    return [out];
  };
}

/** Each row of the last axis by itself: `f` returns rows of one width per output. */
function rowwise(f: (row: Float64Array, epsilon: number) => readonly (readonly number[])[]): Rule {
  return ([x], attribute) => {
    const width = x!.shape.at(-1)!;
    const rows = Array.from({ length: x!.data.length / width }, (_, r) =>
      f(x!.data.subarray(r * width, (r + 1) * width), attribute("epsilon")),
    );
    return rows[0]!.map((first, output) => ({
      shape: x!.shape.with(-1, first.length),
      data: Float64Array.from(rows.flatMap((parts) => parts[output]!)),
    }));
  };
}

/** Normalised rows times gain plus bias; further outputs pass. */
function affine(normalise: Rule): Rule {
  return ([x, gain, bias], attribute) => {
    const [unit, ...more] = normalise([x!], attribute);
    const y = (index: readonly number[]): number => at(unit!, index) * at(gain!, index) + (bias ? at(bias, index) : 0);
    return [tensor(x!.shape, y), ...more];
  };
}

const mean = (row: ArrayLike<number>): number => Array.from(row).reduce((a, b) => a + b, 0) / row.length;

const matMul: Rule = ([a, b], attribute) => {
  const [transA, transB, alpha] = [
    attribute<boolean>("transA"),
    attribute<boolean>("transB"),
    attribute<number>("alpha"),
  ];
  const [m, inner] = transA ? [a!.shape.at(-1)!, a!.shape.at(-2)!] : [a!.shape.at(-2)!, a!.shape.at(-1)!];
  const n = transB ? b!.shape.at(-2)! : b!.shape.at(-1)!;
  const product = tensor([...common(a!.shape.slice(0, -2), b!.shape.slice(0, -2)), m, n], (index) => {
    const [batch, i, j] = [index.slice(0, -2), index.at(-2)!, index.at(-1)!];
    let sum = 0;
    for (let k = 0; k < inner; k++) {
      const left = at(a!, transA ? [...batch, k, i] : [...batch, i, k]);
      sum += left * at(b!, transB ? [...batch, j, k] : [...batch, k, j]);
    }
    return alpha * sum;
  });
  return [product];
};

/** base with every element of `updates` added where `target` says. */
function scatter(base: Numbers, updates: Numbers, target: (index: readonly number[]) => readonly number[]): Numbers {
  const out = { shape: base.shape, data: base.data.slice() };
  eachIndex(updates.shape, (index, flat) => {
    const to = target(index).reduce((sum, i, axis) => sum * base.shape[axis]! + i, 0);
    out.data[to]! += updates.data[flat]!;
  });
  return out;
}

/** 2/√π · e^(-x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!: every term has one sign, so nothing cancels. */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x); // 1 - erf(6) is 2e-17
  let sum = x;
  for (let n = 1, term = x; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** Rounds to a float of `bits` significant bits, ties to even, with the lowest exponent `least`. */
function rounded(x: number, bits: number, least: number): number {
  if (x === 0 || !Number.isFinite(x)) return x;
  const step = 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), least) - bits + 1);
  const low = Math.floor(x / step);
  const rest = x / step - low;
  return (rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low) * step;
}

/** Casts to f32 and f64 keep float64, so that finite differences see a smooth function. */
const CASTS: Readonly<Record<string, (x: number) => number>> = {
  f64: (x) => x,
  f32: (x) => x,
  f16: (x) => rounded(x, 11, -14),
  bf16: (x) => rounded(x, 8, -126),
  bool: (x) => Number(x !== 0),
  i64: Math.trunc,
  i32: Math.trunc,
};

const RULES: Readonly<Record<string, Rule>> = {
  Add: elementwise((a, b) => a! + b!),
  Sub: elementwise((a, b) => a! - b!),
  Mul: elementwise((a, b) => a! * b!),
  Div: elementwise((a, b) => a! / b!),
  Max: elementwise(Math.max),
  Neg: elementwise((x) => -x!),
  Abs: elementwise(Math.abs),
  Exp: elementwise(Math.exp),
  Log: elementwise(Math.log),
  Sqrt: elementwise(Math.sqrt),
  Reciprocal: elementwise((x) => 1 / x!),
  Greater: elementwise((a, b) => Number(a! > b!)),
  GreaterOrEqual: elementwise((a, b) => Number(a! >= b!)),
  Less: elementwise((a, b) => Number(a! < b!)),
  Equal: elementwise((a, b) => Number(a! === b!)),
  And: elementwise((a, b) => Number(a! !== 0 && b! !== 0)),
  Or: elementwise((a, b) => Number(a! !== 0 || b! !== 0)),
  Where: elementwise((condition, a, b) => (condition ? a! : b!)),

  Tanh: elementwise(Math.tanh),
  Sigmoid: elementwise(sigmoid),
  Relu: elementwise((x) => Math.max(x!, 0)),
  Erf: elementwise(erf),
  Silu: elementwise((x) => x! * sigmoid(x!)),
  Gelu: (x, attribute) => {
    const cumulative =
      attribute("approximate") === "tanh"
        ? (v: number) => (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))) / 2
        : (v: number) => (1 + erf(v / Math.SQRT2)) / 2;
    return elementwise((v) => v! * cumulative(v!))(x, attribute);
  },
  Softmax: rowwise((row) => {
    const powers = Array.from(row, (v) => Math.exp(v - Math.max(...row)));
    return [powers.map((power) => power / powers.reduce((a, b) => a + b))];
  }),
  LayerNormalization: affine(
    rowwise((row, epsilon) => {
      const centre = mean(row);
      const inverse = 1 / Math.sqrt(mean(row.map((v) => (v - centre) ** 2)) + epsilon);
      return [Array.from(row, (v) => (v - centre) * inverse), [centre], [inverse]];
    }),
  ),
  SimplifiedLayerNormalization: affine(
    rowwise((row, epsilon) => {
      const inverse = 1 / Math.sqrt(mean(row.map((v) => v * v)) + epsilon);
      return [Array.from(row, (v) => v * inverse), [inverse]];
    }),
  ),

  ReduceSum: reduction(0, (sum, x) => sum + x),
  ReduceMean: reduction(0, (sum, x, share) => sum + x * share),
  ReduceMax: reduction(Number.NEGATIVE_INFINITY, (top, x) => Math.max(top, x)),
  ReduceMin: reduction(Number.POSITIVE_INFINITY, (least, x) => Math.min(least, x)),

  MatMul: matMul,
  Gemm: ([a, b, c], attribute) => {
    const [product] = matMul([a!, b!], attribute);
    return [tensor(product!.shape, (index) => at(product!, index) + at(c!, index))];
  },

  Reshape: ([x], attribute) => [{ shape: attribute("shape"), data: x!.data }],
  Expand: ([x], attribute) => [tensor(attribute("shape"), (index) => at(x!, index))],
  Transpose: ([x], attribute) => {
    const order = attribute<number[]>("permutation");
    return [
      tensor(
        order.map((axis) => x!.shape[axis]!),
        (index) => {
          const from = index.slice();
          order.forEach((axis, i) => {
            from[axis] = index[i]!;
          });
          return at(x!, from);
        },
      ),
    ];
  },
  Slice: ([x], attribute) => [part(x!, attribute("axis"), attribute("start"), attribute("end"))],
  Split: ([x], attribute) => {
    let end = 0;
    return attribute<number[]>("sizes").map((extent) => {
      end += extent;
      return part(x!, attribute("axis"), end - extent, end);
    });
  },
  Concat: (x, attribute) => {
    const axis = attribute<number>("axis");
    const owners = x.flatMap((each) => Array.from({ length: each.shape[axis]! }, (_, i) => ({ each, i })));
    return [
      tensor(x[0]!.shape.with(axis, owners.length), (index) => {
        const { each, i } = owners[index[axis]!]!;
        return at(each, index.with(axis, i));
      }),
    ];
  },
  Cast: ([x], attribute) => [{ shape: x!.shape, data: x!.data.map(CASTS[attribute<string>("to")]!) }],

  Gather: ([table, indices]) => {
    const rank = indices!.shape.length;
    return [
      tensor([...indices!.shape, ...table!.shape.slice(1)], (index) =>
        at(table!, [at(indices!, index.slice(0, rank)), ...index.slice(rank)]),
      ),
    ];
  },
  GatherElements: ([x, indices]) => [tensor(indices!.shape, (index) => at(x!, index.with(-1, at(indices!, index))))],
  ScatterRows: ([base, indices, updates]) => [
    scatter(base!, updates!, (index) => [at(indices!, [index[0]!, 0]), ...index.slice(1)]),
  ],
  ScatterElements: ([base, indices, updates]) => [
    scatter(base!, updates!, (index) => index.with(-1, at(indices!, index))),
  ],
  TopK: ([x], attribute) => {
    const k = attribute<number>("k");
    const [rows, columns] = x!.shape as [number, number];
    const order = Array.from({ length: rows }, (_, i) =>
      Array.from({ length: columns }, (_, j) => j).toSorted((a, b) => at(x!, [i, b]) - at(x!, [i, a])),
    );
    const indices = tensor([rows, k], ([i, j]) => order[i!]![j!]!);
    return [tensor([rows, k], ([i, j]) => at(x!, [i!, at(indices, [i!, j!])])), indices];
  },

  QuantizeRows: ([x, scales, zeros]) => [
    tensor(x!.shape, (index) => {
      const level = Math.round(at(x!, index) / at(scales!, [index[0]!, 0])) + at(zeros!, [index[0]!, 0]);
      return Math.min(255, Math.max(0, level));
    }),
  ],
  IntegerMatMul: ([bytes, weights, one, scales, zero]) => [
    tensor([bytes!.shape[0]!, weights!.shape[1]!], ([row, column]) => {
      let sum = 0;
      for (let k = 0; k < weights!.shape[0]!; k++) {
        sum += (at(bytes!, [row!, k]) - at(zero!, [])) * at(weights!, [k, column!]);
      }
      return sum * at(one!, []) * at(scales!, [column!]);
    }),
  ],
  DequantizeLinear: ([codes, scales, zeros, middles], attribute) => [
    tensor(codes!.shape, ([n, k]) => {
      const index = [n!, Math.floor(k! / attribute<number>("block"))];
      const middle = middles ? at(middles, index) : 0;
      return (at(codes!, [n!, k!]) - at(zeros!, index)) * at(scales!, index) + middle;
    }),
  ],
  LookUpBlocks: ([codes, scales, quads], attribute) => [
    tensor([codes!.shape[0]!, 4 * codes!.shape[1]!], ([n, k]) => {
      const code = at(codes!, [n!, Math.floor(k! / 4)]);
      return at(quads!, [code, k! % 4]) * at(scales!, [n!, Math.floor(k! / attribute<number>("block"))]);
    }),
  ],
  NormalFloatMatMul: ([x, codes, scales], attribute) => {
    const K = x!.shape[1]!;
    const weight = (i: number): number => {
      const byte = at(codes!, [i >> 1]);
      return NORMAL_FLOATS[i & 1 ? byte & 15 : byte >> 4]! * at(scales!, [Math.floor(i / attribute<number>("block"))]);
    };
    return [rowProducts(x!, (2 * codes!.shape[0]!) / K, (n, k) => weight(n * K + k))];
  },
  BlockSums: ([x], attribute) => {
    const block = attribute<number>("block");
    return [
      tensor([x!.shape[0]!, x!.shape[1]! / block], ([m, b]) =>
        Array.from({ length: block }, (_, i) => at(x!, [m!, b! * block + i])).reduce((sum, each) => sum + each, 0),
      ),
    ];
  },
  RotaryEmbedding: ([x, rows, cos, sin]) => [
    tensor(x!.shape, ([b, h, t, d]) => {
      const half = cos!.shape[1]!;
      if (d! >= 2 * half) return at(x!, [b!, h!, t!, d!]);
      const pair = d! % half;
      const [c, s] = [cos!, sin!].map((table) => at(table, [at(rows!, [b!, t!]), pair])) as [number, number];
      const [first, second] = [at(x!, [b!, h!, t!, pair]), at(x!, [b!, h!, t!, pair + half])];
      return d! < half ? first * c - second * s : second * c + first * s;
    }),
  ],
  BlockMatMul: ([x, codes, scales, zeros], attribute) => {
    const block = attribute<number>("block");
    const [N, , bytes] = codes!.shape as [number, number, number];
    const half = bytes < block;
    const nibble = (byte: number, i: number): number => (i & 1 ? byte >> 4 : byte & 15);
    const weight = (n: number, k: number): number => {
      const [b, i] = [Math.floor(k / block), k % block];
      const code = half ? nibble(at(codes!, [n, b, i >> 1]), i) : at(codes!, [n, b, i]);
      const middle = half ? 8 : 128;
      const zero = !zeros ? middle : half ? nibble(at(zeros, [n, b >> 1]), b) : at(zeros, [n, b]);
      return (code - zero) * at(scales!, [n, b]);
    };
    return [rowProducts(x!, N, weight)];
  },

  Conv: ([x, w, bias], attribute) => {
    const [stride, dilation, pads] = [
      attribute<number>("stride"),
      attribute<number>("dilation"),
      attribute<number[]>("pads"),
    ];
    const [B, , H, W] = x!.shape as [number, number, number, number];
    const [O, C, K, L] = w!.shape as [number, number, number, number];
    const P = Math.floor((H + pads[0]! + pads[2]! - dilation * (K - 1) - 1) / stride) + 1;
    const Q = Math.floor((W + pads[1]! + pads[3]! - dilation * (L - 1) - 1) / stride) + 1;
    return [
      tensor([B, O, P, Q], ([b, o, p, q]) => {
        let sum = bias ? at(bias, [o!]) : 0;
        for (let c = 0; c < C; c++) {
          for (let k = 0; k < K; k++) {
            for (let l = 0; l < L; l++) {
              const [row, column] = [p! * stride + k * dilation - pads[0]!, q! * stride + l * dilation - pads[1]!];
              if (row < 0 || row >= H || column < 0 || column >= W) continue;
              sum += at(x!, [b!, c, row, column]) * at(w!, [o!, c, k, l]);
            }
          }
        }
        return sum;
      }),
    ];
  },
  // Every output of the convolution, spread to the pixels that it was made of.
  ConvTranspose: ([dy, w], attribute) => {
    const [stride, dilation, pads] = [
      attribute<number>("stride"),
      attribute<number>("dilation"),
      attribute<number[]>("pads"),
    ];
    const [H, W] = attribute<[number, number]>("size");
    const out = tensor([dy!.shape[0]!, w!.shape[1]!, H, W], () => 0);
    eachIndex(dy!.shape, ([b, o, p, q], flat) => {
      eachIndex(w!.shape.slice(1), ([c, k, l]) => {
        const [row, column] = [p! * stride + k! * dilation - pads[0]!, q! * stride + l! * dilation - pads[1]!];
        if (row < 0 || row >= H || column < 0 || column >= W) return;
        const to = ((b! * w!.shape[1]! + c!) * H + row) * W + column;
        out.data[to]! += dy!.data[flat]! * at(w!, [o!, c!, k!, l!]);
      });
    });
    return [out];
  },
  Resize: ([x], attribute) => {
    const size = attribute<[number, number]>("size");
    const [, , H, W] = x!.shape as [number, number, number, number];
    return [
      tensor([...x!.shape.slice(0, 2), ...size], ([b, c, p, q]) =>
        at(x!, [b!, c!, Math.floor((p! * H) / size[0]), Math.floor((q! * W) / size[1])]),
      ),
    ];
  },
  AveragePool: ([x], attribute) => {
    const window = attribute<number>("window");
    return [
      tensor([...x!.shape.slice(0, 2), x!.shape[2]! / window, x!.shape[3]! / window], ([b, c, p, q]) => {
        let sum = 0;
        for (let k = 0; k < window * window; k++) {
          sum += at(x!, [b!, c!, p! * window + Math.floor(k / window), q! * window + (k % window)]);
        }
        return sum / window ** 2;
      }),
    ];
  },
  Attention: ([q, k, v], attribute) => {
    const [heads, scale] = [attribute<number>("heads"), attribute<number>("scale")];
    const [D, E, M] = [q!.shape[2]! / heads, v!.shape[2]! / heads, k!.shape[1]!];
    return [
      tensor([...q!.shape.slice(0, 2), v!.shape[2]!], ([b, n, column]) => {
        const head = Math.floor(column! / E);
        const scores = Array.from({ length: M }, (_, m) => {
          let sum = 0;
          for (let d = 0; d < D; d++) sum += at(q!, [b!, n!, head * D + d]) * at(k!, [b!, m, head * D + d]);
          return sum * scale;
        });
        const top = Math.max(...scores);
        const powers = scores.map((score) => Math.exp(score - top));
        const mixed = powers.reduce((sum, power, m) => sum + power * at(v!, [b!, m, column!]), 0);
        return mixed / powers.reduce((a, b) => a + b);
      }),
    ];
  },

  WithGradient: ([y]) => [y!],
  After: ([x]) => [x!],
};

/** NF4 to seven digits, from the QLoRA paper's appendix E. */
const NORMAL_FLOATS = [
  -1, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0, 0.0795803, 0.1609302, 0.2461123,
  0.33791524, 0.44070983, 0.562617, 0.72295684, 1,
];

/** x·Wᵀ for the weight of output n and input k. */
function rowProducts(x: Numbers, N: number, weight: (n: number, k: number) => number): Numbers {
  const [M, K] = x.shape as [number, number];
  return tensor([M, N], ([m, n]) => {
    let sum = 0;
    for (let k = 0; k < K; k++) sum += at(x, [m!, k]) * weight(n!, k);
    return sum;
  });
}

function part(x: Numbers, axis: number, start: number, end: number): Numbers {
  return tensor(x.shape.with(axis, end - start), (index) => at(x, index.with(axis, index[axis]! + start)));
}
