/** How much working memory a graph takes: the most bytes of values that are alive at once, in order of computation. */

import { constantOf, inputOf, storedOf, topological, type Value } from "../graph/graph.ts";
import { decodesWeight } from "../runtime/to-onnx.ts";
import { byteLength } from "../tensor/dtype.ts";
import { sizeOf } from "../tensor/shape.ts";

/** Ops whose result shares its input's memory. */
const VIEWS = new Set(["Reshape", "WithGradient", "After"]);

/** Bytes alive at the peak; inputs, constants, mapped tensors and what they are decoded to (one at a time) not counted. */
export function peakBytes(outputs: Iterable<Value>): number {
  const roots = [...outputs].toReversed(); // the runtime begins with the last
  const order = topological(roots);
  const last = new Map<Value, number>();
  order.forEach((node, i) => {
    for (const value of node.inputs) last.set(owner(value), i);
  });
  for (const value of roots) last.set(owner(value), order.length);
  const dying = new Map<number, number>();
  let alive = 0;
  let peak = 0;
  order.forEach((node, i) => {
    const first = node.outputs[0]!;
    const held = inputOf(first) ?? storedOf(first) ?? constantOf(first);
    if (!held && !VIEWS.has(node.op.type) && !decodesWeight(node)) {
      for (const value of node.outputs) {
        const end = last.get(value);
        if (end === undefined) continue;
        const bytes = byteLength(value.dtype, sizeOf(value.shape));
        alive += bytes;
        dying.set(end, (dying.get(end) ?? 0) + bytes);
      }
    }
    peak = Math.max(peak, alive);
    alive -= dying.get(i) ?? 0;
  });
  return peak;
}

function owner(value: Value): Value {
  let at = value;
  while (VIEWS.has(at.node.op.type)) at = at.node.inputs[0]!;
  return at;
}
