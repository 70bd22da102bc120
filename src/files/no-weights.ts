/** What to say about a folder that has a configuration but no weights that can be opened. */

import { ModelError } from "../errors.ts";

const PICKLED = /\.(bin|pt|pth|ckpt)$/;
/** Pickled files that trainers leave beside weights. */
const NOT_WEIGHTS = /^(training_args|optimizer|scheduler|scaler|rng_state)/;

/** The error for a folder that holds `files`, naming the way out. */
export function noWeightsError(folder: string, files: readonly string[]): ModelError {
  const pickled = files.filter((file) => PICKLED.test(file) && !NOT_WEIGHTS.test(file));
  if (pickled.length > 0) {
    return new ModelError(
      `${folder} holds pickled weights (${shorten(pickled)}), which this reader refuses to open because pickle can ` +
        "execute code. Use the model's safetensors revision, or convert once, if you trust its source, in that folder with:\n" +
        `  ${conversion(pickled)}`,
    );
  }
  if (files.includes("adapter_model.safetensors")) {
    return new ModelError(
      `${folder} holds an adapter, not a model. Give it as --adapter, with its base model as --model.`,
    );
  }
  return new ModelError(
    `${folder}: no model.safetensors and no model.safetensors.index.json; it holds ${shorten(files)}. ` +
      "Download the model's safetensors files into it.",
  );
}

/** A command line to paste, so it carries only names that no shell reads as anything else. */
function conversion(pickled: readonly string[]): string {
  const plain = pickled.every((file) => /^\w[\w.-]*$/.test(file)) ? pickled : ["pytorch_model.bin"];
  const names = plain.map((file) => `'${file}'`).join(", ");
  return (
    'python -c "import torch; from safetensors.torch import save_file; ' +
    `w = {k: v.clone().contiguous() for f in [${names}] ` +
    "for k, v in torch.load(f, map_location='cpu', weights_only=True).items()}; " +
    "save_file(w, 'model.safetensors', {'format': 'pt'})\""
  );
}

function shorten(names: readonly string[]): string {
  return names.slice(0, 100).join(", ") + (names.length > 100 ? ` and ${names.length - 100} more` : "");
}
