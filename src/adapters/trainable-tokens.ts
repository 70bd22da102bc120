/**
 * trainable_token_indices: single rows of an embedding are trained, and stored as the rows' new values
 * (PEFT `tuners/trainable_tokens/layer.py`). A head tied to the embedding sees the new rows too.
 */

import { UsageError } from "../errors.ts";
import { integers, scalar, type Value } from "../graph/graph.ts";
import { add, greaterOrEqual, scale, sub, where } from "../graph/ops/arithmetic.ts";
import { expand, reshape } from "../graph/ops/broadcast.ts";
import { gatherRows, scatterElements } from "../graph/ops/gather.ts";
import { matMul } from "../graph/ops/matmul.ts";
import type { ModelTrace } from "../models/trace.ts";
import type { Weights } from "../models/weights.ts";
import { composeMethods } from "./compose.ts";
import type { BoundMethod, Parameter } from "./method.ts";
import { readersIn } from "./modules-to-save.ts";
import { matches } from "./targets.ts";

type TokenIndices = readonly number[] | Readonly<Record<string, readonly number[]>>;

/** Rows of the embeddings that `indices` names; a plain list means the token embedding. */
export function trainableTokens(indices: TokenIndices, trace: ModelTrace): BoundMethod {
  const embeddings = [...trace.modules.values()].filter(({ kind }) => kind === "embedding");
  const wanted: [string, readonly number[]][] = Array.isArray(indices)
    ? [[embeddings[0]!.name, indices]]
    : Object.entries(indices as Readonly<Record<string, readonly number[]>>);
  return composeMethods(
    wanted.map(([name, rows]) => {
      const module = embeddings.find((each) => matches(each.name, [name]));
      if (module?.kind !== "embedding") {
        throw new UsageError(
          `trainable_token_indices ${name}: the model has no such embedding. It has ${embeddings.map((each) => each.name).join(", ")}.`,
        );
      }
      const beyond = rows.filter((row) => row < 0 || row >= module.spec.rows);
      if (beyond.length > 0) {
        throw new UsageError(
          `trainable_token_indices ${beyond.join(", ")}: ${name} has rows 0 to ${module.spec.rows - 1}.`,
        );
      }
      return rowsOf(module.name, module.spec.rows, module.spec.width, rows, trace);
    }),
  );
}

function rowsOf(module: string, count: number, width: number, rows: readonly number[], trace: ModelTrace): BoundMethod {
  const matrix = `${module}.weight`;
  const heads = readersIn(trace)(module);
  const parameter: Parameter = {
    key: `base_model.model.${module}.token_adapter.trainable_tokens_delta`,
    shape: [rows.length, width],
    init: ({ base }) => {
      const table = base(matrix, [count, width]);
      const picked = new Float32Array(rows.length * width);
      rows.forEach((row, i) => {
        picked.set(table.subarray(row * width, (row + 1) * width), i * width);
      });
      return picked;
    },
  };
  /** How far the new rows are from the old ones [n, width]. */
  const moved = (base: Weights, value: (key: string) => Value): Value =>
    sub(value(parameter.key), gatherRows(base.get(matrix, [count, width]), integers(rows, "i32")));
  return {
    parameters: new Map([[parameter.key, parameter]]),
    targets: [module],
    mergeable: true,
    unties: [],
    replaced: () => new Map(),
    merge: ({ name, tensor, frozen, values, weight }) => {
      if (name !== matrix && !heads.some((head) => name === `${head}.weight`)) return null;
      const merged = tensor.slice();
      const trained = values(parameter.key).data;
      rows.forEach((row, i) => {
        for (let j = 0; j < width; j++) {
          const at = row * width + j;
          merged[at] = tensor[at]! + weight * (trained[i * width + j]! - frozen[at]!);
        }
      });
      return merged;
    },
    decorate: (base, value, { weight }) => ({
      ...base,
      embedding: (name, ids, spec) => {
        const x = base.embedding(name, ids, spec);
        if (name !== module) return x;
        const numbers = base.stream.derive(
          `trainable.${module}`,
          ({ N }) => [N],
          "i32",
          (layout) => ({
            dtype: "i32",
            shape: [layout.ids.length],
            data: layout.ids.map((id) => rows.indexOf(id)),
          }),
        );
        const trained = reshape(greaterOrEqual(numbers, integers([0], "i32")), [base.stream.N, 1]);
        const picked = gatherRows(
          moved(base, value),
          where(reshape(trained, [base.stream.N]), numbers, integers([0], "i32")),
        );
        return add(x, where(trained, scale(picked, weight), scalar(0)));
      },
      linear: (name, x, spec) => {
        const y = base.linear(name, x, spec);
        if (!heads.includes(name)) return y;
        const M = x.shape[0]!;
        const columns = expand(reshape(integers(rows), [1, rows.length]), [M, rows.length]);
        return scatterElements(y, columns, matMul(x, moved(base, value), { transB: true, alpha: weight }));
      },
    }),
  };
}
