/** A training run on images as people see it. */

import type { ImageTrainEvent } from "../image-train/events.ts";
import { type Output, table } from "./output.ts";

/** Prints a run for people: a table at the start, one line that moves, a table at the end. */
export function imageTrainProgress(output: Output): (event: ImageTrainEvent) => void {
  let steps = 0;
  let smoothed = Number.NaN;
  const held: number[] = [];
  return (event) => {
    switch (event.event) {
      case "start": {
        steps = event.steps;
        const share = (100 * event.trainableParameters) / event.totalParameters;
        const sizes = Object.entries(event.sizes).map(([size, count]) => `${count} of ${size}`);
        output.line(
          table([
            ["images", `${event.images}${sizes.length > 0 ? ` (${sizes.join(", ")})` : ""}`],
            ...(event.classImages > 0 ? [["class images", String(event.classImages)]] : []),
            [
              "trainable",
              `${event.trainableParameters} of ${event.totalParameters} parameters (${share.toPrecision(3)} %), ${event.targets.length} layers`,
            ],
            ["steps", `${steps}${event.resumedFrom === undefined ? "" : `, going on after ${event.resumedFrom}`}`],
          ]),
        );
        break;
      }
      case "step": {
        smoothed = Number.isNaN(smoothed) ? event.loss : 0.95 * smoothed + 0.05 * event.loss;
        output.progress(
          `step ${event.step}/${steps}  loss ${event.loss.toFixed(4)}  smoothed ${smoothed.toFixed(4)}  ${event.imagesPerSecond.toPrecision(3)} images/s`,
        );
        break;
      }
      case "eval":
        held.push(event.loss);
        output.line(`step ${event.step}: held-out loss ${event.loss.toFixed(5)}`);
        break;
      case "class-image":
        output.progress(`drawing images of the class: ${event.image}/${event.images}`);
        break;
      case "sample":
        output.line(`step ${event.step}: ${event.path}  ${output.style.dim(event.prompt)}`);
        break;
      case "done":
        output.line(
          table([
            [
              "steps",
              `${event.steps} in ${event.seconds.toFixed(0)} s, ${event.imagesPerSecond.toPrecision(3)} images/s`,
            ],
            ["loss", `${event.loss.toFixed(4)} at the last step, ${smoothed.toFixed(4)} smoothed`],
            ...(held.length > 0 ? [["held-out", `${held[0]!.toFixed(5)} → ${held.at(-1)!.toFixed(5)}`]] : []),
            ["memory", `${(event.peakMemoryBytes / 2 ** 20).toFixed(0)} MiB at most`],
            ...event.files.map((file, i) => [i === 0 ? "written" : "", file]),
          ]),
        );
        break;
    }
  };
}
