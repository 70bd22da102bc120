/** Prints lines of code per room of src/, so that growth is seen in review. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../src/", import.meta.url));
const rooms = new Map();

function walk(folder, room) {
  for (const name of readdirSync(folder)) {
    const path = `${folder}/${name}`;
    if (statSync(path).isDirectory()) walk(path, room ?? name);
    else if (name.endsWith(".ts")) {
      const lines = readFileSync(path, "utf8").split("\n").length - 1;
      const key = room ?? "(top)";
      const entry = rooms.get(key) ?? { files: 0, lines: 0, longest: 0 };
      rooms.set(key, { files: entry.files + 1, lines: entry.lines + lines, longest: Math.max(entry.longest, lines) });
    }
  }
}

walk(root, undefined);
console.table(Object.fromEntries([...rooms].sort(([, a], [, b]) => b.lines - a.lines)));
console.log(`${[...rooms.values()].reduce((sum, { lines }) => sum + lines, 0)} lines`);
