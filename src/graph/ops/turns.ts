/**
 * A part of a graph that runs once for each slice of its inputs, one after the other: what it computes on the way
 * exists for one slice only. As a loop it is in the graph once, however many slices there are, and so are the copies
 * that a runtime makes of the weights it reads.
 */

import { sameShape } from "../../tensor/shape.ts";
import { applyAll, demand, type Node, type Op, type TensorType, topological, type Value } from "../graph.ts";
import { reshape } from "./broadcast.ts";
import { concat, slice } from "./movement.ts";
import { after } from "./rule.ts";

/** What a turn computes: `results` stand side by side in the end; of `held`, null hands on what came in. */
export interface Turn {
  readonly results: readonly Value[];
  readonly held: readonly (Value | null)[];
}

export interface TurnsOptions {
  /** Number of slices. */
  readonly count: number;
  /** As a loop, which WebGPU lacks; else once for each slice. */
  readonly loop: boolean;
}

export interface ScanAttributes {
  /** How many of the inputs a turn hands on to the next; as many outputs come first. */
  readonly held: number;
  /** How many inputs, behind those, are sliced along their first axis. The rest is what the body reads from around it. */
  readonly sliced: number;
  readonly body: ScanBody;
}

export interface ScanBody {
  /** What stands for the held and the sliced inputs. */
  readonly inputs: readonly Value[];
  /** What is handed on, then the results. */
  readonly outputs: readonly Value[];
  /** The nodes that depend on the inputs, each after what it reads. */
  readonly nodes: readonly Node[];
}

const Slot: Op<TensorType> = { type: "Slot", infer: (_inputs, { dtype, shape }) => [{ dtype, shape }] };

const Scan: Op<ScanAttributes> = {
  type: "Scan",
  infer: (inputs, { held, sliced, body }) => {
    const count = inputs[held]!.shape[0]!;
    const parts = inputs.slice(held, held + sliced);
    for (const [i, { shape }] of inputs.slice(0, held).entries()) {
      const next = body.outputs[i]!.shape;
      demand(sameShape(shape, next), "Scan", `a turn hands on [${next}] for [${shape}]`);
    }
    demand(
      parts.every(({ shape }) => shape[0] === count),
      "Scan",
      `slices along the first axis of [${parts.map(({ shape }) => shape).join("], [")}]`,
    );
    return body.outputs.map(({ dtype, shape }, i) => ({ dtype, shape: i < held ? shape : [count, ...shape] }));
  },
};

/**
 * Runs `turn` for each of `count` slices of `parts` [count · n, …] along their first axis. Returns its results [count · n,
 * …] and what the last turn held, or of what was never changed null. Not differentiable.
 */
export function inTurns(
  parts: readonly Value[],
  initial: readonly Value[],
  { count, loop }: TurnsOptions,
  turn: (parts: readonly Value[], held: readonly Value[]) => Turn,
): Turn {
  return loop ? looped(parts, initial, count, turn) : unrolled(parts, initial, count, turn);
}

function looped(
  parts: readonly Value[],
  initial: readonly Value[],
  count: number,
  turn: Parameters<typeof inTurns>[3],
): Turn {
  const slotOf = ({ dtype, shape }: TensorType): Value => applyAll(Slot, [], { dtype, shape })[0]!;
  const sliced = parts.map((part) => reshape(part, [count, part.shape[0]! / count, ...part.shape.slice(1)]));
  const partSlots = sliced.map(({ dtype, shape }) => slotOf({ dtype, shape: shape.slice(1) }));
  const allHeld = initial.map(slotOf);
  const { results, held } = turn(partSlots, allHeld);
  const changed = held.flatMap((value, i) => (value ? [i] : []));
  const inputs = [...changed.map((i) => allHeld[i]!), ...partSlots];
  const outputs = [...changed.map((i) => held[i]!), ...results];
  const nodes = dependents(outputs, inputs);
  const inside = new Set([...nodes, ...inputs.map(({ node }) => node)]);
  const read = [...outputs, ...nodes.flatMap((node) => node.inputs)].filter(({ node }) => !inside.has(node));
  const body = { inputs, outputs, nodes };
  const given = [...changed.map((i) => initial[i]!), ...sliced, ...new Set(read)];
  const made = applyAll(Scan, given, { held: changed.length, sliced: parts.length, body });
  return {
    held: initial.map((_, i) => made[changed.indexOf(i)] ?? null),
    results: made.slice(changed.length).map((each) => reshape(each, [count * each.shape[1]!, ...each.shape.slice(2)])),
  };
}

function dependents(outputs: readonly Value[], inputs: readonly Value[]): Node[] {
  const found = new Set(inputs.map(({ node }) => node));
  const nodes: Node[] = [];
  for (const node of topological(outputs)) {
    if (!node.inputs.some((from) => found.has(from.node))) continue;
    found.add(node);
    nodes.push(node);
  }
  return nodes;
}

function unrolled(
  parts: readonly Value[],
  initial: readonly Value[],
  count: number,
  turn: Parameters<typeof inTurns>[3],
): Turn {
  const all: (readonly Value[])[] = [];
  let current = initial;
  let changed: readonly boolean[] = [];
  let done: Value | undefined;
  for (let index = 0; index < count; index++) {
    const cut = parts.map((part) => {
      const size = part.shape[0]! / count;
      const own = slice(part, 0, index * size, (index + 1) * size);
      // A turn begins when the one before it is done: else the runtime may hold what is computed in all of them.
      return done ? after(own, done) : own;
    });
    const { results, held } = turn(cut, current);
    changed = held.map((value) => value !== null);
    current = held.map((value, i) => value ?? current[i]!);
    all.push(results);
    done = results.at(-1) ?? current.at(-1);
  }
  return {
    held: current.map((value, i) => (changed[i] ? value : null)),
    results: all[0]!.map((_, i) =>
      concat(
        all.map((results) => results[i]!),
        0,
      ),
    ),
  };
}
