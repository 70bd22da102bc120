/**
 * Activation recomputation (Chen et al. 2016, arXiv:1604.06174): of a block only its input is kept; the backward pass
 * computes the block again. Costs one more forward pass, and saves nearly all of a block's memory.
 */

import { gradient } from "../autodiff/gradient.ts";
import { inputOf, type Node, type Value } from "../graph/graph.ts";
import { after, detach, withGradient } from "../graph/ops/rule.ts";
import type { Stream } from "./stream.ts";

/** block(x), which keeps x's shape; recomputed in the backward pass where the stream asks for it. */
export function segment(stream: Stream, x: Value, block: (x: Value) => Value): Value {
  return stream.recompute ? recomputed([x], ([y]) => block(y!)) : block(x);
}

/** compute(inputs), of which only the inputs are kept: the backward pass computes it again. */
export function recomputed(inputs: readonly Value[], compute: (inputs: readonly Value[]) => Value): Value {
  const y = compute(inputs);
  const trainable = trainableBetween(y, inputs);
  return withGradient(y, [...inputs, ...trainable], (dy) => {
    // Not before the gradient has come: that is what saves the memory.
    const again = inputs.map((x) => detach(after(x, dy)));
    return gradient(compute(again), [...again, ...trainable], dy);
  });
}

/** Trainable inputs that y depends on other than through `inputs`. */
function trainableBetween(y: Value, inputs: readonly Value[]): Value[] {
  const seen = new Set<Node>(inputs.map(({ node }) => node));
  const stack = [y.node];
  const found: Value[] = [];
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    if (inputOf(node.outputs[0]!)?.trainable) found.push(node.outputs[0]!);
    for (const { node: source } of node.inputs) stack.push(source);
  }
  return found;
}
