/**
 * Reverse-mode differentiation. The gradient of a graph is an ordinary graph of the same ops.
 * Only nodes on a path from a target to the loss are walked, so nothing is built for frozen weights or for layers
 * below the lowest trainable tensor.
 */

import { GraphError } from "../errors.ts";
import { type Node, scalar, topological, type Value } from "../graph/graph.ts";
import { add } from "../graph/ops/arithmetic.ts";
import { sumTo } from "../graph/ops/broadcast.ts";
import { sameShape } from "../tensor/shape.ts";

/**
 * d(loss)/d(target) for each target, in their order; null for a target that the loss does not depend on.
 * `loss` is a scalar, unless `seed`, its own gradient with the same shape, is given.
 */
export function gradient(loss: Value, targets: readonly Value[], seed: Value = scalar(1)): (Value | null)[] {
  if (!sameShape(loss.shape, seed.shape)) {
    throw new GraphError(`internal: gradient of a value of shape [${loss.shape}] with a seed of shape [${seed.shape}]`);
  }
  const nodes = topological([loss]);
  const wanted = new Set(targets.map((target) => target.node));
  const onPath = new Set<Node>();
  for (const node of nodes) {
    if (wanted.has(node) || node.inputs.some(({ node: source }) => onPath.has(source))) onPath.add(node);
  }

  const arrived = new Map<Node, (Value | null)[]>();
  const receive = (at: Value, dy: Value): void => {
    const slots = arrived.get(at.node) ?? at.node.outputs.map(() => null);
    const held = slots[at.output];
    slots[at.output] = held ? add(held, dy) : dy;
    arrived.set(at.node, slots);
  };
  receive(loss, seed);

  for (const node of nodes.toReversed()) {
    const dys = arrived.get(node);
    if (!dys || !onPath.has(node) || node.inputs.length === 0) continue;
    const dy = dys[0] ?? dys.find((value) => value !== null);
    if (!dy) continue;
    if (!node.op.gradient) {
      throw new GraphError(`internal: ${node.op.type} has no gradient; add one beside its shape rule in graph/ops/`);
    }
    const gradients = node.op.gradient({ dy, dys, y: node.outputs, x: node.inputs, attributes: node.attributes });
    node.inputs.forEach((source, i) => {
      const dx = gradients[i];
      if (dx && onPath.has(source.node)) receive(source, sumTo(dx, source.shape));
    });
  }
  return targets.map((target) => arrived.get(target.node)?.[target.output] ?? null);
}
