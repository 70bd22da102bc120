/** The form that a completion's text is held to. */

import { ModelError, UsageError } from "../errors.ts";
import { createGuides, type Guide, type Guides } from "../grammar/guide.ts";
import { jsonGrammar, schemaGrammar } from "../grammar/json-schema.ts";
import { choice, type Grammar, text } from "../grammar/node.ts";
import { parsePattern } from "../grammar/regex.ts";
import type { Base } from "../program/setup.ts";

/** Any JSON object; an instance of a JSON schema; a text that a regular expression describes wholly; one of some texts. */
export type TextForm =
  | "json"
  | { readonly schema: unknown }
  | { readonly pattern: string }
  | { readonly choices: readonly string[] };

export interface Forms {
  /** A way through the form for one completion. Throws UsageError for a form that cannot be held to. */
  guide(form: TextForm): Guide;
}

/** Grammars are compiled when they are first asked for, and kept. */
export function createForms({ model, tokenizer }: Base, ends: ReadonlySet<number>): Forms {
  let guides: Guides | null = null;
  return {
    guide(form) {
      const bytesOf = tokenizer?.bytesOf;
      if (!bytesOf)
        throw new ModelError(`${model.name}: its tokens' bytes are not known, so no text can be held to a form.`);
      guides ??= createGuides({ size: model.config.vocabularySize, bytesOf, ends });
      return guides.begin(() => grammarOf(form), JSON.stringify(form));
    },
  };
}

function grammarOf(form: TextForm): Grammar {
  if (form === "json") return jsonGrammar();
  if ("schema" in form) return schemaGrammar(form.schema);
  if ("pattern" in form) return { root: parsePattern(form.pattern).node, rules: new Map() };
  if (form.choices.length === 0) throw new UsageError("There are no texts to choose from.");
  return { root: choice(...form.choices.map(text)), rules: new Map() };
}
