/**
 * Text from tokens as they come: only whole characters leave, and everything that left is the decoding of everything.
 *
 * Source of the window: `DecodeStream` of Rust `tokenizers` (`tokenizer/mod.rs`).
 */

export interface TextStream {
  /** The text that `id` completes; "" while a character is still partial. */
  push(id: number): string;
  /** What is still held back: partial characters come as U+FFFD. The stream starts anew afterwards. */
  end(): string;
}

export interface StreamSource {
  /** Decoding of a whole list of ids, before {@link cleanUp}. */
  decode(ids: readonly number[]): string;
  /** Whether the id never shows. */
  hidden(id: number): boolean;
  /** Whether `decode` is followed by {@link cleanUp}. */
  readonly cleansUp: boolean;
}

export function textStream({ decode, hidden, cleansUp }: StreamSource): TextStream {
  // Decoders strip or insert a space by what stands before, so that the last emitted tokens stay in the window.
  let window: number[] = [];
  let emitted = ""; // decoding of the window's tokens that have left
  let emittedTokens = 0;
  let uncleaned = "";

  const leave = (text: string, last: boolean): string => {
    if (!cleansUp) return text;
    uncleaned += text;
    const cut = last ? uncleaned.length : cleanCut(uncleaned);
    const out = cleanUp(uncleaned.slice(0, cut));
    uncleaned = uncleaned.slice(cut);
    return out;
  };

  return {
    push(id) {
      if (hidden(id)) return "";
      window.push(id);
      const text = decode(window);
      if (text.length <= emitted.length || text.endsWith("\uFFFD")) return "";
      const fresh = text.slice(emitted.length);
      window = window.slice(emittedTokens);
      emitted = decode(window);
      emittedTokens = window.length;
      return leave(fresh, false);
    },
    end() {
      const out = leave(window.length === 0 ? "" : decode(window).slice(emitted.length), true);
      window = [];
      emitted = "";
      emittedTokens = 0;
      return out;
    },
  };
}

/** transformers' `clean_up_tokenization`: no space before punctuation and English contractions. */
export function cleanUp(text: string): string {
  return text
    .replaceAll(" .", ".")
    .replaceAll(" ?", "?")
    .replaceAll(" !", "!")
    .replaceAll(" ,", ",")
    .replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't")
    .replaceAll(" 'm", "'m")
    .replaceAll(" 's", "'s")
    .replaceAll(" 've", "'ve")
    .replaceAll(" 're", "'re");
}

/**
 * Where a text can be cut so that cleaning both parts is cleaning the whole: before a space that no rule joins with what
 * stands before it, as in " ' ", " n ' t" and "  ' s".
 */
function cleanCut(text: string): number {
  let cut = text.lastIndexOf(" ");
  for (;;) {
    const before = text.slice(Math.max(0, cut - 2), Math.max(0, cut));
    if (before.endsWith(" ")) cut -= 1;
    else if (before === " '" || before === " n") cut -= 2;
    else return Math.max(0, cut);
  }
}
