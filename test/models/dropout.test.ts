/**
 * Where the models drop out, and at which rates: as transformers does. dropout.json holds logits for which every dropout
 * multiplies by 1 + its rate (make_dropout.py); here the same is done through `Weights.dropout`.
 */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { input } from "../../src/graph/graph.ts";
import { scale } from "../../src/graph/ops/arithmetic.ts";
import { gatherRows } from "../../src/graph/ops/gather.ts";
import { headOf } from "../../src/models/architecture.ts";
import { checkpointTask, openModel } from "../../src/models/open.ts";
import { createStream, streamInputs } from "../../src/models/stream.ts";
import type { Weights } from "../../src/models/weights.ts";
import { NO_VIRTUAL, place } from "../../src/program/layout.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { caseFolder } from "../goldens/harness.ts";

interface Reference {
  readonly rates: Readonly<Record<string, number>>;
  readonly ids: readonly number[];
  /** Of the row, or of its last token. */
  readonly logits: readonly number[];
}

const references = JSON.parse(readFileSync(new URL("dropout.json", import.meta.url), "utf8")) as Readonly<
  Record<string, Reference>
>;

test.each(Object.entries(references))("%s", async (name, { rates, ids, logits }) => {
  const model = openModel(`${caseFolder(name)}/model`);
  const config = model.architecture.configure({ ...model.rawConfig, ...rates });
  const head = headOf(model.architecture, checkpointTask(model.rawConfig)!)!;
  const T = ids.length;
  const stream = createStream(1, T, { M: 1 });
  const plain = model.weights(stream);
  const weights: Weights = { ...plain, dropout: (x, _site, rate) => scale(x, 1 + rate) };
  const hidden = model.architecture.hidden(weights, config, stream);
  const scores = head.logits(weights, config as never, gatherRows(hidden, input("rows", "i32", [1])));
  const session = await nodeRuntime.open(new Map([["logits", scores]]), { threads: 1 });
  const { layout } = place([{ ids: Int32Array.from(ids) }], { B: 1, T }, NO_VIRTUAL);
  const row = head.rows === "first" ? 0 : T - 1;
  const outputs = await session.run(
    new Map([
      ...streamInputs(stream, { ...layout, draw: 0 }, { M: 1, chunks: 1 }),
      ["rows", { dtype: "i32", shape: [1], data: Int32Array.of(row) }],
    ]),
  );
  const got = outputs.get("logits")!.data;
  logits.forEach((wanted, i) => {
    expect(Math.abs(Number(got[i]) - wanted)).toBeLessThan(2e-5);
  });
  await session.close();
});
