/** What a data set holds for a model, before the first step: numbers, one row token by token with its mask, and doubts. */

import type { Task } from "../task.ts";
import type { Dataset } from "./dataset.ts";
import { type Example, IGNORED, targetCount } from "./example.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface TokenView {
  readonly id: number;
  /** What the token adds to the text: empty while a character is partial, null without a tokenizer. */
  readonly text: string | null;
  readonly target: boolean;
}

export interface DataReport {
  /** The rows' shape, by name. */
  readonly format: string;
  readonly task: Task;
  readonly rows: number;
  readonly tokens: number;
  readonly targetTokens: number;
  /** Targets among the tokens, 0 to 1; null where the row as a whole is labelled, or targets are drawn later. */
  readonly targetShare: number | null;
  readonly truncatedRows: number;
  readonly droppedRows: number;
  readonly longestRow: { readonly line: number; readonly tokens: number };
  /** One row, its first tokens. */
  readonly sample: {
    readonly line: number;
    readonly tokens: readonly TokenView[];
    /** Tokens behind those. */
    readonly more: number;
    /** The row's own label, where it has one. */
    readonly label?: number | readonly number[];
    /** The worse answer of a pair, from the prompt on. */
    readonly rejected?: { readonly tokens: readonly TokenView[]; readonly more: number };
    /** Whether its answer was judged a good one. */
    readonly desirable?: boolean;
  };
  /** What is no error, and yet unlikely to be meant. */
  readonly doubts: readonly string[];
}

export interface PreflightOptions {
  readonly tokenizer: Tokenizer | null;
  readonly endId: number | null;
  readonly maxLength: number;
  /** Line of the row to show; undefined: the first that has targets. */
  readonly line?: number | undefined;
  /** Tokens to show of it. */
  readonly limit?: number;
}

export function preflight(data: Dataset, options: PreflightOptions): DataReport {
  const { examples, task, format, statistics } = data;
  const length = ({ ids, rejected }: Example): number => Math.max(ids.length, rejected?.ids.length ?? 0);
  const longest = examples.reduce((best, example) => (length(example) > length(best) ? example : best));
  const perToken = examples.some(({ labels }) => labels !== undefined);
  const shown =
    (options.line === undefined ? undefined : examples.find(({ line }) => line === options.line)) ??
    examples.find((example) => targetCount(example, task) > 0) ??
    examples[0]!;
  return {
    format,
    task,
    ...statistics,
    targetShare: perToken ? statistics.targetTokens / statistics.tokens : null,
    longestRow: { line: longest.line, tokens: length(longest) },
    sample: {
      line: shown.line,
      ...tokenViews(shown, task, options),
      ...(shown.label === undefined ? {} : { label: shown.label }),
      ...(shown.rejected === undefined ? {} : { rejected: tokenViews(shown.rejected, task, options) }),
      ...(shown.desirable === undefined ? {} : { desirable: shown.desirable }),
    },
    doubts: doubtsOf(data, options),
  };
}

function tokenViews(
  { ids, labels }: Pick<Example, "ids" | "labels">,
  task: Task,
  { tokenizer, limit = Number.POSITIVE_INFINITY }: PreflightOptions,
): { readonly tokens: TokenView[]; readonly more: number } {
  const count = Math.min(ids.length, limit);
  const stream = tokenizer?.stream({ skipSpecial: false });
  const tokens = Array.from(ids.subarray(0, count), (id, i): TokenView => {
    // A causal model predicts nothing at position 0.
    const target = labels !== undefined && labels[i] !== IGNORED && !(i === 0 && task === "causal-lm");
    const text = stream?.push(id) ?? null;
    return { id, text: text !== null && i === count - 1 ? text + stream!.end() : text, target };
  });
  return { tokens, more: ids.length - count };
}

function doubtsOf({ examples, statistics, task, format }: Dataset, { endId, maxLength }: PreflightOptions): string[] {
  const doubts: string[] = [];
  const { rows, truncatedRows, targetTokens, tokens } = statistics;
  if (truncatedRows > 0) {
    doubts.push(
      `${truncatedRows} of ${rows} rows were cut at ${maxLength} tokens and lost what follows. Raise --max-length to keep it.`,
    );
  }
  if (task === "causal-lm" && format !== "tokens" && endId !== null) {
    const ending = examples.filter(({ labels }) => labels?.includes(endId)).length;
    if (ending === 0) {
      doubts.push(
        `No row has the end token (id ${endId}) as a target, so the model does not learn to stop. Check the chat template or the rows.`,
      );
    }
  }
  if (task === "causal-lm" && targetTokens < tokens / 100) {
    doubts.push(`Less than 1 % of the tokens are targets: most of the work goes into prompts. Check the row shown.`);
  }
  return doubts;
}
