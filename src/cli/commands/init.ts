/** `lowrank init` */

import { existsSync } from "node:fs";
import { type Command, defineCommand } from "../command.ts";

const command: Command = defineCommand({
  summary: "Write a configuration file for train, asking for what is missing",
  usage: "[--model DIR] [--data FILE] [options]",
  keepsIds: true,
  flags: {
    model: { type: "string", value: "DIR", help: "Base: a Hugging Face folder, a hub id, or embedded:NAME" },
    data: { type: "string", value: "FILE", help: "Training rows" },
    out: { type: "string", value: "DIR", help: "Folder that train shall write to", shown: "runs/mine" },
    method: { type: "string", value: "NAME", help: "lora, full, ia3, …", shown: "lora" },
    r: { type: "integer", help: "Rank of LoRA's matrices", shown: "8" },
    epochs: { type: "number", help: "Times over the data", shown: "3" },
    file: { type: "string", value: "FILE", help: "The file to write", shown: "lowrank.yaml" },
    force: { type: "boolean", help: "Write over a file that exists" },
  },
  notes: "Questions are asked on a terminal only. Then: lowrank train --config lowrank.yaml",
  run: async ({ flags, output }) => {
    const [{ UsageError }, { writeFileAtomic }, { askFor, configText }] = await Promise.all([
      import("../../errors.ts"),
      import("../../files/atomic.ts"),
      import("../init.ts"),
    ]);
    const { file = "lowrank.yaml", force = false, ...given } = flags;
    if (existsSync(file) && !force) throw new UsageError(`${file} exists. Choose another --file, or add --force.`);
    const terminal = process.stdin.isTTY === true && process.stdout.isTTY === true && !output.json;
    const answers = terminal ? await askFor(given) : given;
    if (answers === null) return 130;
    const missing = (["model", "data"] as const).filter((name) => !answers[name]).map((name) => `--${name}`);
    if (missing.length > 0) throw new UsageError(`lowrank init needs ${missing.join(" and ")} where it cannot ask.`);
    writeFileAtomic(file, new TextEncoder().encode(configText(answers)));
    output.result({ file }, () => `${file} is written. Train with: lowrank train --config ${file}`);
    return 0;
  },
});

export default command;
