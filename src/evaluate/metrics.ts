/** Loss and metrics of tasks that label rows or tokens, from scores and labels: float64, one pass. */

import { type Example, IGNORED } from "../data/example.ts";
import type { Task } from "../task.ts";
import { pearson, ranks } from "./correlation.ts";
import { ranking, similarity } from "./pair-metrics.ts";
import type { RowScores } from "./scores.ts";

export interface Measured {
  /** Sum over targets; the mean is the loss. */
  readonly lossSum: number;
  readonly targets: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/** Gathers rows one after another, then tells. */
export interface Measure {
  add(example: Example, scores: RowScores): void;
  result(): Measured;
}

/** By task, given the classes' names where they are known; language models have no entry, their loss says all. */
export const MEASURES: Partial<Readonly<Record<Task, (classes?: readonly string[]) => Measure>>> = {
  "sequence-classification": () => classification(agreement),
  "token-classification": (classes) => classification(classes?.some(isBegin) ? entityScores(classes) : accuracyOnly),
  "multi-label-classification": multiLabel,
  regression,
  "sentence-embedding": ranking,
  "sentence-similarity": similarity,
};

/** What the labels and the classes found say, sequence by sequence: a row's one label, or its labelled tokens'. */
type Score = (wanted: readonly (readonly number[])[], found: readonly (readonly number[])[]) => Record<string, number>;

/** Accuracy over labelled rows, or over labelled tokens, and what `score` says. */
function classification(score: Score): Measure {
  let [lossSum, targets, right] = [0, 0, 0];
  const wanted: number[][] = [];
  const found: number[][] = [];
  const count = ({ scores, classes }: RowScores, at: number, label: number): void => {
    const row = scores.subarray(at * classes, (at + 1) * classes);
    const best = row.indexOf(row.reduce((a, b) => Math.max(a, b)));
    lossSum += logSumExp(row) - row[label]!;
    targets++;
    if (best === label) right++;
    wanted.at(-1)!.push(label);
    found.at(-1)!.push(best);
  };
  return {
    add: ({ label, labels }, scores) => {
      wanted.push([]);
      found.push([]);
      if (scores.count === 1 && label !== undefined) count(scores, 0, Number(label));
      else
        labels?.forEach((each, i) => {
          if (each !== IGNORED) count(scores, i, each);
        });
    },
    result: () => ({ lossSum, targets, metrics: { accuracy: right / targets, ...score(wanted, found) } }),
  };
}

const accuracyOnly: Score = () => ({});

/** F1 of class 1 where there are two, the mean F1 of all classes that occur, and Matthews' correlation. */
const agreement: Score = (wanted, found) => {
  const pairs = wanted.flatMap((labels, row) => labels.map((label, i) => [label, found[row]![i]!] as const));
  const classes = [...new Set(pairs.flat())];
  const count = (kept: (pair: readonly [number, number]) => boolean): number => pairs.filter(kept).length;
  const f1 = (each: number): number =>
    harmonic(
      count(([label, best]) => label === each && best === each),
      count(([, best]) => best === each),
      count(([label]) => label === each),
    );
  // Gorodkin's R_K, which for two classes is Matthews' own formula.
  const right = count(([label, best]) => label === best);
  let [both, bests, labels] = [0, 0, 0];
  for (const each of classes) {
    const [best, label] = [count(([, other]) => other === each), count(([other]) => other === each)];
    both += best * label;
    bests += best * best;
    labels += label * label;
  }
  const n = pairs.length;
  const spread = Math.sqrt((n * n - bests) * (n * n - labels));
  return {
    ...(classes.every((each) => each < 2) ? { f1: f1(1) } : {}),
    macroF1: classes.reduce((sum, each) => sum + f1(each), 0) / classes.length,
    matthews: spread === 0 ? 0 : (right * n - both) / spread,
  };
};

/** F1 from the number of hits, of finds and of those to be found; 0 when there are none. */
function harmonic(hits: number, found: number, wanted: number): number {
  return found + wanted === 0 ? 0 : (2 * hits) / (found + wanted);
}

function isBegin(name: string): boolean {
  return name.startsWith("B-");
}

/** Precision, recall and F1 of whole entities from B-, I- and O tags, by the rules of CoNLL's conlleval. */
function entityScores(names: readonly string[]): Score {
  return (wanted, found) => {
    let [hits, finds, all] = [0, 0, 0];
    wanted.forEach((labels, row) => {
      const [theirs, ours] = [entities(labels, names), entities(found[row]!, names)];
      hits += ours.filter((entity) => theirs.includes(entity)).length;
      finds += ours.length;
      all += theirs.length;
    });
    return {
      entityPrecision: finds === 0 ? 0 : hits / finds,
      entityRecall: all === 0 ? 0 : hits / all,
      entityF1: harmonic(hits, finds, all),
    };
  };
}

/** Entities as "type from to"; an I- that continues nothing begins one. */
function entities(tags: readonly number[], names: readonly string[]): string[] {
  const all: string[] = [];
  let open: { readonly type: string; readonly from: number } | null = null;
  for (let i = 0; i <= tags.length; i++) {
    const name = names[tags[i] ?? -1] ?? "O";
    const type = /^[BI]-/.test(name) ? name.slice(2) : null;
    if (open && (!name.startsWith("I-") || type !== open.type)) {
      all.push(`${open.type} ${open.from} ${i}`);
      open = null;
    }
    if (type !== null && !open) open = { type, from: i };
  }
  return all;
}

/** Mean binary cross-entropy; the share of rows with every label right, and F1 over all labels and by label. */
function multiLabel(): Measure {
  let [lossSum, rows, exact] = [0, 0, 0];
  const counts: { hits: number; found: number; wanted: number }[] = [];
  return {
    add: ({ label }, { scores, classes }) => {
      const wanted = label as readonly number[];
      let wrong = 0;
      scores.forEach((score, i) => {
        const found = score > 0 ? 1 : 0;
        lossSum += (Math.max(score, 0) - score * wanted[i]! + Math.log1p(Math.exp(-Math.abs(score)))) / classes;
        counts[i] ??= { hits: 0, found: 0, wanted: 0 };
        counts[i].hits += found * wanted[i]!;
        counts[i].found += found;
        counts[i].wanted += wanted[i]!;
        if (found !== wanted[i]) wrong++;
      });
      rows++;
      if (wrong === 0) exact++;
    },
    result: () => {
      const sum = (key: "hits" | "found" | "wanted"): number => counts.reduce((total, each) => total + each[key], 0);
      const single = counts.map(({ hits, found, wanted }) => harmonic(hits, found, wanted));
      return {
        lossSum,
        targets: rows,
        metrics: {
          accuracy: exact / rows,
          microF1: harmonic(sum("hits"), sum("found"), sum("wanted")),
          macroF1: single.reduce((total, each) => total + each, 0) / single.length,
        },
      };
    },
  };
}

/** Mean squared error; for one value a row, how well predictions follow the values. */
function regression(): Measure {
  const predicted: number[] = [];
  const wanted: number[] = [];
  let [lossSum, targets, width] = [0, 0, 1];
  return {
    add: ({ label = 0 }, { scores }) => {
      const values = [label].flat();
      width = values.length;
      values.forEach((value, i) => {
        lossSum += (scores[i]! - value) ** 2 / width;
        predicted.push(scores[i]!);
        wanted.push(value);
      });
      targets++;
    },
    result: () => ({
      lossSum,
      targets,
      metrics: {
        mse: lossSum / targets,
        ...(width === 1
          ? { pearson: pearson(predicted, wanted), spearman: pearson(ranks(predicted), ranks(wanted)) }
          : {}),
      },
    }),
  };
}

function logSumExp(values: Float32Array): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (const value of values) largest = Math.max(largest, value);
  let sum = 0;
  for (const value of values) sum += Math.exp(value - largest);
  return largest + Math.log(sum);
}
