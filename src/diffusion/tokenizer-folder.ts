/** Where the tokenizer of a text encoder lies that was given from elsewhere. */

import { existsSync } from "node:fs";
import { join } from "node:path";

/** Id that fills texts up for OpenCLIP's encoders: "!". */
const OPEN_PADDING = 0;

export interface TokenizerPlace {
  readonly tokenizer: string | null;
  /** Id that texts are filled up with; null: as the tokenizer's own files say. */
  readonly padding: number | null;
}

/**
 * In a folder of tokenizer files, which serve every encoder (their vocabulary is one, only the padding differs), or in
 * the folder of a pipeline, which has one for each.
 */
export function tokenizerIn(
  folder: string | null,
  { component, open }: { readonly component: string; readonly open: boolean },
): TokenizerPlace {
  if (folder === null) return { tokenizer: null, padding: null };
  const own = join(folder, component.replace("text_encoder", "tokenizer"));
  if (existsSync(own)) return { tokenizer: own, padding: null };
  const first = join(folder, "tokenizer");
  return { tokenizer: existsSync(first) ? first : folder, padding: open ? OPEN_PADDING : null };
}
