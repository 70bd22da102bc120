import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import * as api from "../src/index.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const readme = readFileSync(`${root}README.md`, "utf8");
const commands = [...readme.matchAll(/^npx lowrank (.+)$/gm)].map((match) => match[1]!);

test.each(commands)("README: lowrank %s has flags that the command knows", (line) => {
  const name = /^[a-z]+( [a-z]+)?/.exec(line)![0].split(" "); // one word or two: "image train"
  const help = execFileSync(process.execPath, [`${root}dist/cli/main.js`, ...name, "--help"], { encoding: "utf8" });
  for (const flag of line.match(/--[a-z-]+/g) ?? []) expect(help).toContain(flag);
});

test("README: every imported name is exported", () => {
  const names = [...readme.matchAll(/import \{ ([^}]+) \} from "lowrank"/g)].flatMap((match) => match[1]!.split(", "));
  expect(names.length).toBeGreaterThan(0);
  for (const name of names) expect(api).toHaveProperty(name);
});

test("README: no placeholder is left", () => {
  expect(readme).not.toContain("QUICKSTART_OUTPUT");
});
