/** `lowrank verify` */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Command, defineCommand } from "../command.ts";
import { table } from "../output.ts";
import { defaultThreads } from "../threads.ts";

const command: Command = defineCommand({
  summary: "Compute every tensor of a reference case",
  usage: "CASE --write FILE [options]",
  arguments: ["CASE"],
  flags: {
    write: {
      type: "string",
      value: "FILE",
      required: true,
      help: "A safetensors file for our tensors, under the case's names",
    },
    threads: { type: "integer", help: "Threads to compute with (one a core)" },
  },
  run: async ({ flags: { write, threads = defaultThreads() }, arguments: [folder], output }) => {
    const [{ verifyHere }, { nodeRuntime }] = await Promise.all([
      import("../../verify/verify.ts"),
      import("../../runtime/node.ts"),
    ]);
    const scratch = mkdtempSync(join(tmpdir(), "lowrank-"));
    try {
      const result = await verifyHere({ folder: folder!, write, scratch, threads }, nodeRuntime);
      output.result({ ...result, write }, () =>
        table([
          ["tensors", String(result.tensors)],
          ...Object.entries(result.differences).map(([kind, value]) => [kind, value.toExponential(2)]),
        ]),
      );
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  },
});

export default command;
