import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const root = new URL("../", import.meta.url);
const table = readFileSync(new URL("docs/trust.md", root), "utf8");
const named = [...table.matchAll(/`(test\/[\w./-]+\.test\.ts)`: (.+) \|$/gm)].map(
  ([, file, name]) => [file!, name!] as const,
);

test("docs/trust.md names a test in every row", () => {
  const rows = table.split("\n").filter((line) => line.startsWith("|") && !/^\| (complaint|attack) |^\|---/.test(line));
  expect(rows.length).toBeGreaterThan(15);
  expect(named).toHaveLength(rows.length);
});

test.each(named)("%s holds: %s", (file, name) => {
  const path = new URL(file, root);
  expect(existsSync(path)).toBe(true);
  expect(readFileSync(path, "utf8")).toContain(name);
});
