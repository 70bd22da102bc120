/** The training thread. */

import { nodeRuntime } from "../runtime/node.ts";
import { serveRun } from "../train/worker-run.ts";
import type { ImageTrainInput } from "./options.ts";
import { trainImagesHere } from "./train.ts";

await serveRun((input: ImageTrainInput, environment) =>
  trainImagesHere(input, { runtime: nodeRuntime, ...environment }),
);
