import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { adapterArguments } from "../../src/cli/adapter-argument.ts";
import { type FlagTable, readConfigValues, readFlags } from "../../src/cli/flags.ts";
import { nearest } from "../../src/cli/nearest.ts";
import { toJson } from "../../src/cli/output.ts";
import { inScratch } from "./lowrank.ts";

const table: FlagTable = {
  model: { type: "string", help: "" },
  lr: { type: "number", help: "" },
  maxSteps: { type: "integer", help: "" },
  shuffle: { type: "boolean", help: "" },
  targetModules: { type: "list", help: "" },
  adapter: { type: "repeated", help: "" },
  betas: { type: "numbers", help: "" },
  rankPattern: { type: "json", help: "" },
  resume: { type: "optional", help: "" },
};

const values = (text: string): unknown => readFlags(text.split(" "), table).values;

test("flags of every type", () => {
  expect(values("--model a=b --lr 5e-3 --max-steps=7 --no-shuffle")).toEqual({
    model: "a=b",
    lr: 0.005,
    maxSteps: 7,
    shuffle: false,
  });
  expect(values("--target-modules q,v --adapter x --adapter y")).toEqual({
    targetModules: ["q", "v"],
    adapter: ["x", "y"],
  });
  expect(values("--target-modules q v --lr -1")).toEqual({ targetModules: ["q", "v"], lr: -1 });
  expect(values("--betas 0.9 0.95 --resume")).toEqual({ betas: [0.9, 0.95], resume: true });
  expect(values("--resume a/b --betas 0.9,0.95")).toEqual({ betas: [0.9, 0.95], resume: "a/b" });
  expect(values('--rank-pattern {"c_proj":4}')).toEqual({ rankPattern: { c_proj: 4 } });
});

test.each([
  ["--max-step 3", "--max-step is no option. Did you mean --max-steps?"],
  ["--no-lr", "--no-lr: --lr takes a value and cannot be negated."],
  ["--lr", "--lr needs a value"],
  ["--lr --shuffle", "--lr needs a value"],
  ["--lr fast", '--lr: found "fast", needed a number.'],
  ["--max-steps 1.5", '--max-steps: found "1.5", needed a whole number.'],
  ["--rank-pattern 4", "needed an object"],
  ["-x", "-x is no option."],
])("%s is refused", (text, message) => {
  expect(() => values(text)).toThrow(message);
});

test("configuration files name flags in camelCase, negated ones too", () => {
  expect(
    readConfigValues({ noShuffle: true, maxSteps: "4", targetModules: "q,v", betas: [0.9, 0.95] }, table, "f"),
  ).toEqual({
    shuffle: false,
    maxSteps: 4,
    targetModules: ["q", "v"],
    betas: [0.9, 0.95],
  });
  expect(() => readConfigValues({ "max-steps": 4 }, table, "f")).toThrow(
    "f: max-steps is no option. Did you mean maxSteps?",
  );
  expect(() => readConfigValues({ shuffle: "yes" }, table, "f")).toThrow("needed true or false");
});

test("adapters have names and weights; a path that exists is taken as it stands", () =>
  inScratch(async (folder) => {
    const odd = join(folder, "a=b@2");
    mkdirSync(odd);
    expect(adapterArguments(["runs/one", "x=runs/two@0.5", "y=runs/th@ree", `${odd}@-1`])).toEqual([
      { name: "one", path: "runs/one", weight: 1 },
      { name: "x", path: "runs/two", weight: 0.5 },
      { name: "y", path: "runs/th@ree", weight: 1 },
      { name: "a=b@2", path: odd, weight: -1 },
    ]);
    expect(adapterArguments([odd])).toEqual([{ name: "a=b@2", path: odd, weight: 1 }]);
    expect(() => adapterArguments(["a/mine", "b/mine"])).toThrow("two adapters are called mine");
  }));

test("the nearest name, unless none is near", () => {
  expect(nearest("evla", ["train", "eval", "verify"])).toBe("eval");
  expect(nearest("xyzzy", ["train", "eval"])).toBeNull();
});

test("numbers that JSON lacks are strings", () => {
  expect(toJson({ a: Number.NaN, b: [-Infinity], c: Infinity, d: 1 })).toBe(
    '{"a":"NaN","b":["-Infinity"],"c":"Infinity","d":1}',
  );
});
