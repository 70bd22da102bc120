import { expect, test } from "vitest";
import { meansByKind } from "../../src/report/study-means.ts";

test("figures of one kind of module and one adapter are averaged, in the order of their first appearance", () => {
  const figure = (module: string, name: string, value: number) => ({ module, among: [name], value });
  const rows = meansByKind(
    [
      figure("h.0.attn.q", "a", 1),
      figure("h.0.attn.v", "a", 10),
      figure("h.1.attn.q", "a", 4),
      figure("h.1.attn.q", "b", 7),
    ],
    ({ value }) => [value, -value],
  );
  expect(rows).toEqual([
    ["q", "a", "2.5", "−2.5"],
    ["v", "a", "10", "−10"],
    ["q", "b", "7", "−7"],
  ]);
});
