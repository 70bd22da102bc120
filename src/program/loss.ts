/** Losses over the rows that a head reads, in chunks, so that the scores of all rows never exist together. */

import { gradient } from "../autodiff/gradient.ts";
import { constantOf, scalar, type Value } from "../graph/graph.ts";
import { relu, sigmoid, softmax } from "../graph/ops/activation.ts";
import { abs, add, equal, log, mul, neg, scale, shift, sub, where } from "../graph/ops/arithmetic.ts";
import { expand, reshape, sumAll, zerosOf } from "../graph/ops/broadcast.ts";
import { gatherElements, scatterElements } from "../graph/ops/gather.ts";
import { reduceMax, reduceMean } from "../graph/ops/reduce.ts";
import { after, detach, withGradient } from "../graph/ops/rule.ts";
import { inTurns, type TurnsOptions } from "../graph/ops/turns.ts";

/**
 * −log softmax(scores)ᵢ[labelᵢ] for scores [n, V] and labels [n]: [n, 1]. `smoothing` ε moves a share ε of each target to
 * all V classes alike (Szegedy et al. 2016), as PyTorch's `label_smoothing`.
 */
export function crossEntropy(scores: Value, labels: Value, smoothing = 0): Value {
  const n = scores.shape[0]!;
  const columns = reshape(labels, [n, 1]);
  const shares = softmax(scores); // [n, V]
  // log Σ exp(s) = max s − log(max share): the largest share never underflows.
  const logSum = sub(reduceMax(scores, [-1]), log(reduceMax(shares, [-1])));
  const right = scale(gatherElements(scores, columns), 1 - smoothing);
  const wanted = smoothing === 0 ? right : add(right, scale(reduceMean(scores, [-1]), smoothing));
  return withGradient(sub(logSum, wanted), [scores], (dy) => [
    scatterElements(times(shift(shares, -smoothing / scores.shape[1]!), dy), columns, scale(neg(dy), 1 - smoothing)),
  ]);
}

/** 1 where a row's label has its largest score, else 0, for scores [n, V] and labels [n]: [n, 1]. Not differentiable. */
export function hit(scores: Value, labels: Value): Value {
  const right = gatherElements(scores, reshape(labels, [scores.shape[0]!, 1]));
  return where(equal(right, reduceMax(scores, [-1])), scalar(1), scalar(0));
}

/** Σⱼ (scores − targets)² / K for scores and targets [n, K]: [n, 1]. */
export function squaredError(scores: Value, targets: Value): Value {
  const difference = sub(scores, targets);
  return reduceMean(mul(difference, difference), [-1]);
}

/** Mean over K labels of −log σ(±score), + where the target is 1 and − where it is 0, for both [n, K]: [n, 1]. */
export function binaryCrossEntropy(scores: Value, targets: Value): Value {
  // log(1 + exp(s)) = max(s, 0) − log σ(|s|), which neither overflows nor cancels.
  const softplus = sub(relu(scores), log(sigmoid(abs(scores))));
  const loss = reduceMean(sub(softplus, mul(scores, targets)), [-1]);
  return withGradient(loss, [scores], (dy) => [mul(scale(sub(sigmoid(scores), targets), 1 / scores.shape[1]!), dy)]);
}

/** The loss of each hidden row [n, C] against its target: [n, 1]. */
export type RowLoss = (rows: Value, targets: Value) => Value;

/**
 * Σ wᵢ·lossᵢ over `rows` [M, C] in equal chunks, with weights w [M]. Each chunk's gradient is computed beside its loss, so
 * that no chunk's scores outlive it. `trainable` are the values that the head itself may depend on; none asks for no
 * gradient.
 */
export function chunkedLoss(
  { rows, targets, weights }: { readonly rows: Value; readonly targets: Value; readonly weights: Value },
  { trainable, ...turns }: TurnsOptions & { readonly trainable: readonly Value[] },
  lossOf: RowLoss,
): Value {
  const wanted = trainable.length > 0;
  const initial = [scalar(0), ...trainable.map(({ shape }) => zerosOf(shape))];
  const { held, results } = inTurns([rows, targets, weights], initial, turns, ([part, own, some], [sum, ...sums]) => {
    const rowWeights = reshape(some!, [some!.shape[0]!, 1]);
    const cut = detach(part!);
    const rowLosses = lossOf(cut, own!);
    const loss = add(sum!, sumAll(mul(rowLosses, rowWeights)));
    if (!wanted) return { results: [], held: [loss] };
    const { dRows, dTrainable } = chunkGradient(rowLosses, rowWeights, cut, trainable);
    // The loss comes first: what it is made of goes before the gradient comes.
    return { results: [after(dRows, loss)], held: [loss, ...dTrainable.map((dy, i) => dy && add(sums[i]!, dy))] };
  });
  const [sum, ...sums] = held;
  if (!wanted) return sum!;
  const used = trainable.flatMap((value, i) => (sums[i] ? [{ value, dy: sums[i] }] : []));
  return withGradient(sum!, [rows, ...used.map(({ value }) => value)], (dy) => [
    times(results[0]!, dy),
    ...used.map((each) => times(each.dy, dy)),
  ]);
}

/** What `lossOf` makes of `rows` [M, C] and their targets [M, …], row by row: [M, …]. No chunk's scores outlive it. */
export function chunkedRows(rows: Value, targets: Value, turns: TurnsOptions, lossOf: RowLoss): Value {
  const turn = ([part, own]: readonly Value[]) => ({ results: [lossOf(part!, own!)], held: [] });
  return inTurns([rows, targets], [], turns, turn).results[0]!;
}

/** Gradients of Σ wᵢ·lossᵢ. A head without trainable tensors keeps rows apart: their weights then cost a pass over [n, C]. */
function chunkGradient(
  rowLosses: Value,
  rowWeights: Value,
  cut: Value,
  trainable: readonly Value[],
): { dRows: Value; dTrainable: (Value | null)[] } {
  const ones = expand(scalar(1), rowLosses.shape);
  const [unweighted, ...own] = gradient(rowLosses, [cut, ...trainable], ones);
  if (own.every((dy) => dy === null)) return { dRows: mul(unweighted!, rowWeights), dTrainable: own };
  const [dRows, ...dTrainable] = gradient(rowLosses, [cut, ...trainable], rowWeights);
  return { dRows: dRows!, dTrainable };
}

/** x·dy, without a pass when dy is ones. */
function times(x: Value, dy: Value): Value {
  return isOnes(dy) ? x : mul(x, dy);
}

function isOnes(dy: Value): boolean {
  const { op, inputs } = dy.node;
  return op.type === "Expand" ? isOnes(inputs[0]!) : constantOf(dy)?.tensor.data[0] === 1;
}
