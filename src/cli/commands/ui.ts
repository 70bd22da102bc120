/** `lowrank ui` */

import { type Command, defineCommand } from "../command.ts";
import { defaultThreads } from "../threads.ts";
import { packageVersion } from "../version.ts";

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
      help: "Base of the images page: a diffusers folder, or embedded:NAME",
      shown: "embedded:diffusion-tiny",
    },
    threads: { type: "integer", help: "Threads to answer with (one a core)" },
  },
  notes: "The page is for this machine alone. Ctrl-C ends it; runs go on.",
  run: async ({ flags, output }) => {
    const [{ startUi }, { locateModel }] = await Promise.all([
      import("../../ui/server.ts"),
      import("../../models/locate.ts"),
    ]);
    const { runs = "runs", port = 7860, threads = defaultThreads() } = flags;
    const imageModel = locateModel(flags.imageModel ?? "embedded:diffusion-tiny");
    const ui = await startUi({ runs, port, threads, imageModel, version: packageVersion() });
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
