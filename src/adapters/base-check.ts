/** Whether a base is the one that an adapter was trained on, by what the adapter's folder recorded of it. */

import { recordedBase } from "../data/provenance.ts";
import { ModelError } from "../errors.ts";
import { folderName } from "../files/snapshot-path.ts";
import { type Model, weightsHash } from "../models/open.ts";
import type { PeftFolder } from "./peft-folder.ts";

/** Whether the adapter names this base, by the name asked for or by the model's own; one that names none fits any. */
export function namesBase({ config }: Pick<PeftFolder, "config">, { name }: Model, asked: string): boolean {
  const named = config.base_model_name_or_path;
  return !named || named === asked || folderName(named.replace(/^embedded:/, "")) === name;
}

/** Throws ModelError for a base of the adapter's name whose weights are not those that it was trained on. */
export function refuseOtherWeights(folder: Pick<PeftFolder, "path" | "config">, model: Model): void {
  const recorded = recordedBase(folder.path);
  if (recorded === null || !namesBase(folder, model, "")) return;
  const found = weightsHash(model);
  if (found === recorded.hash) return;
  const commit = recorded.commit === undefined ? "" : ` (commit ${recorded.commit})`;
  throw new ModelError(
    `${folder.path} was trained on other weights than ${model.folder} holds: their hash begins with ` +
      `${recorded.hash.slice(0, 12)} there and ${found.slice(0, 12)} here. Use the ${recorded.name}${commit} of that time, or train again. ` +
      `To use the adapter on it all the same, remove lowrank.json from the adapter's folder.`,
  );
}
