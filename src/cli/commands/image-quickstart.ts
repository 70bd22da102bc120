/** `lowrank image quickstart`: two styles on the embedded diffusion base, blended, measured and shown. */

import { mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomic, writeJsonAtomic } from "../../files/atomic.ts";
import { type Command, defineCommand } from "../command.ts";
import { IMAGE_BASE, measure, trainStyle } from "../image-quickstart/steps.ts";
import { drawLesson, STYLES } from "../image-quickstart/styles.ts";
import { defaultThreads } from "../threads.ts";

const command: Command = defineCommand({
  summary: "Train two styles on the embedded image base, blend them and show the grids",
  usage: "[--out DIR] [--steps N]",
  flags: {
    out: { type: "string", value: "DIR", help: "Folder for adapters and report", shown: "runs/image-quickstart" },
    steps: { type: "integer", help: "Steps of each style", shown: "280" },
    drawSteps: { type: "integer", help: "Denoising steps of each picture", shown: "20" },
    threads: { type: "integer", help: "Threads to compute with (one a core)" },
  },
  run: async ({ flags, output }) => {
    const { out = "runs/image-quickstart", steps = 280, drawSteps = 20, threads = defaultThreads() } = flags;
    const started = performance.now();
    rmSync(out, { recursive: true, force: true });
    mkdirSync(out, { recursive: true });
    const [{ imageQuickstartReport }, { openPipeline }, { locateModel }] = await Promise.all([
      import("../../report/image-quickstart-report.ts"),
      import("../../diffusion/pipeline.ts"),
      import("../../models/locate.ts"),
    ]);
    output.line(`Two styles on ${IMAGE_BASE}, a small diffusion model that has only seen flat shapes.\n`);
    const trained = [];
    for (const style of STYLES) {
      drawLesson(join(out, "pictures", style.name), style, false);
      drawLesson(join(out, "pictures", `${style.name}-held-out`), style, true);
      trained.push(await trainStyle(style, { out, steps, threads, output }));
    }
    const pipeline = openPipeline(locateModel(IMAGE_BASE));
    const measured = await measure(pipeline, trained, { out, threads, output, drawSteps });
    const report = {
      base: IMAGE_BASE,
      adapters: trained.map(({ style, ...facts }, i) => ({
        name: style.name,
        trigger: style.trigger,
        ...facts,
        adapterBytes: statSync(facts.path).size,
        ...measured.styles[i]!,
      })),
      weightZeroEqualsBase: measured.weightZeroEqualsBase,
      seconds: (performance.now() - started) / 1000,
    };
    writeJsonAtomic(join(out, "report.json"), report);
    const page = imageQuickstartReport({ ...report, styles: STYLES, grids: measured.grids });
    writeFileAtomic(join(out, "report.html"), new TextEncoder().encode(page));
    output.result(
      report,
      () =>
        `\nDone in ${report.seconds.toFixed(0)} s. Open ${join(out, "report.html")}\n\nYour own images, each with a caption of its name (cat.png, cat.txt):\n  npx lowrank image train --model YOUR-PIPELINE --data PHOTOS --trigger "zig cat" --out runs/zig`,
    );
    return 0;
  },
});

export default command;
