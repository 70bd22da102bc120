/** Compiles src/ to dist/ with plain tsc, makes the command line executable, and writes the schema of train's files. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
rmSync(`${root}/dist`, { recursive: true, force: true });
execFileSync(process.execPath, [`${root}/node_modules/typescript/bin/tsc`, "-p", `${root}/tsconfig.build.json`], {
  stdio: "inherit",
});
chmodSync(`${root}/dist/cli/main.js`, 0o755);

const schema = execFileSync(process.execPath, [`${root}/dist/cli/main.js`, "schema", "train"]);
mkdirSync(`${root}/dist/schemas`);
writeFileSync(`${root}/dist/schemas/train.schema.json`, schema);
