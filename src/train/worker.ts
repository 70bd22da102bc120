/** The training thread. */

import { runtimeOn } from "../runtime/devices.ts";
import type { TrainInput } from "./options.ts";
import { trainHere } from "./train.ts";
import { serveRun } from "./worker-run.ts";

await serveRun((input: TrainInput, environment) =>
  trainHere(input, { runtime: runtimeOn(input.device ?? "cpu"), ...environment }),
);
