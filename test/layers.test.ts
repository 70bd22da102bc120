import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect, test } from "vitest";

/** Which rooms each room of src/ may import, in the order of the flow: ARCHITECTURE.md's arrows. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  tensor: [],
  files: ["tensor"],
  hub: ["files"],
  graph: ["tensor"],
  autodiff: ["tensor", "graph"],
  runtime: ["tensor", "graph"],
  data: ["tensor", "files"],
  gguf: ["tensor", "files"],
  grammar: [],
  models: ["tensor", "files", "gguf", "graph", "autodiff"],
  precision: ["tensor", "files", "gguf", "graph", "runtime", "models"],
  adapters: ["tensor", "files", "graph", "autodiff", "models", "data"],
  program: ["tensor", "files", "graph", "autodiff", "runtime", "data", "models", "adapters", "precision"],
  evaluate: ["tensor", "files", "graph", "runtime", "data", "models", "adapters", "precision", "program"],
  generate: ["tensor", "files", "graph", "runtime", "data", "grammar", "models", "adapters", "precision", "program"],
  diffusion: ["tensor", "files", "graph", "autodiff", "runtime", "data", "models", "adapters", "precision"],
  ai: ["files", "adapters", "generate", "runtime"],
  serve: ["adapters", "models", "precision", "evaluate", "generate", "runtime"],
  convert: ["tensor", "files", "gguf", "models", "adapters", "program", "diffusion"],
  train: [
    "tensor",
    "files",
    "graph",
    "runtime",
    "data",
    "models",
    "adapters",
    "precision",
    "program",
    "evaluate",
    "generate",
  ],
  merge: [
    "tensor",
    "files",
    "gguf",
    "runtime",
    "data",
    "models",
    "adapters",
    "precision",
    "program",
    "evaluate",
    "train",
    "diffusion",
    "graph",
  ],
  bench: ["tensor", "files", "graph", "runtime", "data", "models", "program", "evaluate", "train", "generate", "merge"],
  verify: [
    "tensor",
    "files",
    "graph",
    "runtime",
    "data",
    "models",
    "adapters",
    "program",
    "evaluate",
    "train",
    "merge",
    "diffusion",
    "autodiff",
  ],
  estimate: ["tensor", "files", "graph", "models", "adapters", "program", "train"],
  study: ["tensor", "files", "models", "convert"],
  compare: ["files", "models", "train"],
  ui: ["files", "runtime", "adapters", "diffusion", "train", "serve", "report"],
  "image-train": [
    "tensor",
    "files",
    "graph",
    "autodiff",
    "runtime",
    "data",
    "models",
    "adapters",
    "diffusion",
    "train",
  ],
  report: ["tensor", "files", "train", "study", "compare", "image-train"],

  cli: ["*"],
};
/** Files at the top of src/ that any room may import. */
const COMMON = ["errors.ts", "task.ts", "wire-error.ts"];

const root = join(import.meta.dirname, "../src");

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sources(path);
    return entry.name.endsWith(".ts") ? [path] : [];
  });
}

function importsOf(path: string): string[] {
  const text = readFileSync(path, "utf8");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1]!);
}

test("rooms import only what ARCHITECTURE.md allows", () => {
  const wrong: string[] = [];
  for (const path of sources(root)) {
    const file = relative(root, path);
    const room = file.includes("/") ? file.slice(0, file.indexOf("/")) : "";
    if (room === "") continue;
    const allowed = ALLOWED[room];
    if (!allowed) {
      wrong.push(`${file}: the room ${room} has no row in this test`);
      continue;
    }
    for (const target of importsOf(path).filter((each) => each.startsWith("."))) {
      const to = relative(root, join(dirname(path), target));
      const other = to.includes("/") ? to.slice(0, to.indexOf("/")) : "";
      if (other === room || allowed.includes("*") || (other === "" && COMMON.includes(to)) || allowed.includes(other))
        continue;
      wrong.push(`${file} imports ${to}: ${room} may import ${allowed.join(", ") || "nothing"}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("only runtime/ imports ONNX Runtime", () => {
  const outside = sources(root).filter(
    (path) =>
      !relative(root, path).startsWith("runtime/") && importsOf(path).some((name) => name.startsWith("onnxruntime-")),
  );
  expect(outside).toEqual([]);
});

test("no room below cli/ prints or reads the environment", () => {
  const wrong = sources(root).filter(
    (path) =>
      !relative(root, path).startsWith("cli/") &&
      /\bconsole\.|process\.(env|argv|stdout|stderr)/.test(readFileSync(path, "utf8")),
  );
  expect(wrong.map((path) => relative(root, path))).toEqual([]);
});

test("ARCHITECTURE.md names every room, in at most 120 lines", () => {
  const text = readFileSync(join(root, "../ARCHITECTURE.md"), "utf8");
  expect(text.split("\n").length).toBeLessThanOrEqual(121);
  const rooms = readdirSync(root, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? [entry.name] : [],
  );
  expect(rooms.filter((room) => !text.includes(`\`${room}/\``))).toEqual([]);
});
