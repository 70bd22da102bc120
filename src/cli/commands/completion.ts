/** `lowrank completion` */

import { type Command, defineCommand } from "../command.ts";

const command: Command = defineCommand({
  summary: "Print a shell's completion script",
  usage: "bash|zsh|fish",
  arguments: ["SHELL…"],
  flags: {},
  notes:
    'For bash, put  eval "$(lowrank completion bash)"  into ~/.bashrc; for zsh into ~/.zshrc, after compinit;\nfor fish:  lowrank completion fish > ~/.config/fish/completions/lowrank.fish',
  run: async ({ arguments: [shell], output }) => {
    const [{ SCRIPTS }, { UsageError }] = await Promise.all([import("../shell-scripts.ts"), import("../../errors.ts")]);
    const script = SCRIPTS[shell as keyof typeof SCRIPTS];
    if (!script) throw new UsageError(`${shell}: needed one of ${Object.keys(SCRIPTS).join(", ")}.`);
    output.result({ shell, script }, () => script);
  },
});

export default command;
