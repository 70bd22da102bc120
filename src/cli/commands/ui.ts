/** `lowrank ui` */

import { type Command, defineCommand } from "../command.ts";
import { IMAGE_MODEL_FLAGS, imageModel } from "../image-model.ts";
import { defaultThreads } from "../threads.ts";
import { packageVersion } from "../version.ts";

const EMBEDDED = "embedded:diffusion-tiny";

const command: Command = defineCommand({
  summary: "Watch, compare and try runs in a browser, and draw images with their adapters",
  usage: "[--runs DIR] [--image-model DIR] [--port N]",
  events: true,
  flags: {
    runs: { type: "string", value: "DIR", help: "Folder of runs, and of folders of them", shown: "runs" },
    port: { type: "integer", help: "Port on this machine; 0 takes a free one", shown: "7860" },
    imageModel: {
      type: "string",
      value: "DIR",
      help: "Base of the images page: as --model of image generate",
      shown: EMBEDDED,
    },
    ...IMAGE_MODEL_FLAGS,
    threads: { type: "integer", help: "Threads to answer with (one a core)" },
  },
  notes: "The page is for this machine alone. Ctrl-C ends it; runs go on.",
  run: async ({ flags, output }) => {
    const { startUi } = await import("../../ui/server.ts");
    const { runs = "runs", port = 7860, threads = defaultThreads(), imageModel: model = EMBEDDED, ...opening } = flags;
    const images = await imageModel({ ...opening, model });
    const ui = await startUi({ runs, port, threads, images, version: packageVersion() });
    output.event({ event: "listening", url: ui.url });
    if (!output.json) output.line(`The runs of ${runs}: ${ui.url}\nCtrl-C ends.`);
    await new Promise<void>((resolve) => {
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
    });
    await ui.stop();
    return 0;
  },
});

export default command;
