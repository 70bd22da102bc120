import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { prepareBatch } from "../../src/program/batch.ts";
import { trainProgram } from "../../src/program/program.ts";
import { createRunner } from "../../src/program/runner.ts";
import { batchFacts, openBase, settle } from "../../src/program/setup.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import type { Runtime } from "../../src/runtime/session.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { caseFolder, openCase } from "../goldens/harness.ts";

const CASES = readdirSync(caseFolder(".")).filter((name) => !name.startsWith("."));

/** The loss and gradients of the first rows, from a session for all sizes or from one of their own. */
async function losses(
  name: string,
  sized: boolean,
): Promise<{ outputs: ReadonlyMap<string, Tensor>[]; sessions: number }> {
  const { model, task, adapter, rows } = openCase(name);
  let sessions = 0;
  const runtime: Runtime = {
    open: (outputs, options) => {
      sessions++;
      return nodeRuntime.open(outputs, options);
    },
    openSized: async (graph, options) => (sized ? nodeRuntime.openSized(graph, options) : null),
  };
  const adapters = [{ method: adapter.method, prefix: "", weight: 1 }];
  const setup = { ...openBase(`${caseFolder(name)}/model`), ...settle(openBase(`${caseFolder(name)}/model`), task) };
  const facts = batchFacts(setup, adapter.method.virtual);
  const runner = createRunner({
    runtime,
    session: { threads: 1 },
    build: (shape) => trainProgram({ model, task, adapters, shape }),
  });
  const outputs: ReadonlyMap<string, Tensor>[] = [];
  for (const count of [1, 2, 5]) {
    const examples = rows.slice(0, count).map(({ input_ids, labels, label }, i) => ({
      ids: Int32Array.from(input_ids),
      ...(labels ? { labels: Int32Array.from(labels) } : {}),
      ...(label === undefined ? {} : { label }),
      line: i + 1,
    }));
    outputs.push(await runner.run(prepareBatch(examples, facts, 0.1), adapter.tensors));
  }
  await runner.close();
  return { outputs, sessions };
}

test.each(CASES)("%s: one session for all sizes computes what sessions of one size compute", async (name) => {
  const all = await losses(name, true);
  const each = await losses(name, false);
  // Disentangled attention of DeBERTa shifts tables by positions, which no polynomial of the sizes tells.
  if (!name.startsWith("deberta")) expect(all.sessions).toBe(0);
  all.outputs.forEach((outputs, i) => {
    for (const [key, { data }] of outputs) {
      expect(Array.from(data as Float32Array), key).toEqual(
        Array.from(each.outputs[i]!.get(key)!.data as Float32Array),
      );
    }
  });
});
