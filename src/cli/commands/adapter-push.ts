/** `lowrank adapter push` */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Command, defineCommand } from "../command.ts";

const command: Command = defineCommand({
  summary: "Upload an adapter, with a card, as a repository of the hub",
  usage: "PATH ORG/NAME [options]",
  arguments: ["PATH", "NAME"],
  flags: {
    private: { type: "boolean", help: "Make a repository that only you see" },
    message: { type: "string", value: "TEXT", help: "Title of the commit", shown: "Upload adapter" },
    dryRun: { type: "boolean", help: "Print the card, upload nothing" },
  },
  keepsIds: true,
  notes: "Needs a token with write access in HF_TOKEN. A README.md in the folder is taken in place of a new card.",
  run: async ({ flags, arguments: [path, id], output }) => {
    const [{ openPeftFolder, peftFiles }, { modelCard }, { hubSettings }, { uploadFolder }, { UsageError }] =
      await Promise.all([
        import("../../adapters/peft-folder.ts"),
        import("../../adapters/card.ts"),
        import("../../hub/settings.ts"),
        import("../../hub/upload.ts"),
        import("../../errors.ts"),
      ]);
    if (!/^[\w-]+\/[\w.-]+$/.test(id!)) throw new UsageError(`${id}: needed ORG/NAME, the repository to upload to.`);
    const files = peftFiles(openPeftFolder(path!));
    const own = existsSync(join(path!, "README.md"));
    const card = own ? readFileSync(join(path!, "README.md"), "utf8") : modelCard(path!, id!);
    if (flags.dryRun) {
      output.result({ files: [...files, "README.md"], card }, () => card);
      return;
    }
    const { private: isPrivate = false, message = "Upload adapter" } = flags;
    const uploaded = await uploadFolder(hubSettings(process.env), {
      id: id!,
      folder: path!,
      files,
      texts: { "README.md": card },
      message,
      isPrivate,
    });
    output.result(uploaded, () => `${uploaded.files.join(", ")} uploaded: ${uploaded.url}`);
  },
});

export default command;
