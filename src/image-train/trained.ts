/** What a run trains: tensors by name, and how a component's graph takes them as inputs. */

import type { ImageAdapter, ImageBranch, Mounted } from "../diffusion/adapter.ts";
import { mountBranches } from "../diffusion/adapter.ts";
import { type Component, readOwn } from "../diffusion/component.ts";
import { componentsOf, type Pipeline } from "../diffusion/pipeline.ts";
import { input, type Value } from "../graph/graph.ts";
import { transpose } from "../graph/ops/movement.ts";
import type { Stream } from "../models/stream.ts";
import { hashText, randomStream } from "../tensor/random.ts";
import { sizeOf } from "../tensor/shape.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import type { ImageTrainOptions } from "./options.ts";
import { selectImageTargets } from "./targets.ts";

export interface Trained {
  /** Every trained tensor, by component and name: "unet.….lora_A.weight". Updated in place. */
  readonly parameters: ReadonlyMap<string, FloatTensor>;
  /** Names of the adapted modules, of every tensor where all are trained. */
  readonly targets: readonly string[];
  /** The component's weights with the trained tensors on them, which are inputs of the graph. */
  mount(component: string, stream: Stream): Mounted;
  /** The adapter that the tensors are; empty where whole components are trained. */
  readonly adapter: ImageAdapter;
}

/** Fresh branches, or those of `initial`: A from the seed, B zero, so that nothing changes at first. */
export function trainedBranches(pipeline: Pipeline, options: ImageTrainOptions, initial: ImageAdapter | null): Trained {
  const components = componentsOf(pipeline);
  const names = ["unet", ...(options.trainTextEncoder ? pipeline.textEncoders.map(({ component }) => component) : [])];
  const adapter = new Map<string, ReadonlyMap<string, ImageBranch>>();
  for (const name of initial ? initial.keys() : names) {
    const branches = initial?.get(name) ?? freshBranches(name, components.get(name)!, options);
    adapter.set(name, branches);
  }
  return branchesTrained(components, adapter);
}

/** The tensors of an adapter as what is trained. */
function branchesTrained(components: ReadonlyMap<string, Component<unknown>>, adapter: ImageAdapter): Trained {
  const parameters = new Map<string, FloatTensor>();
  for (const [component, branches] of adapter) {
    for (const [module, { A, B }] of branches) {
      parameters.set(`${component}.${module}.lora_A.weight`, A);
      parameters.set(`${component}.${module}.lora_B.weight`, B);
    }
  }
  return {
    parameters,
    targets: [...adapter].flatMap(([component, branches]) =>
      [...branches.keys()].map((module) => `${component}.${module}`),
    ),
    adapter,
    mount: (component, stream) =>
      mountBranches(components.get(component)!.weights(stream), [
        { prefix: `${component}.`, branches: adapter.get(component) ?? new Map() },
      ]),
  };
}

function freshBranches(
  name: string,
  { trace }: Component<unknown>,
  options: ImageTrainOptions,
): ReadonlyMap<string, ImageBranch> {
  const branches = new Map<string, ImageBranch>();
  for (const { module, input: extents, out, rank, alpha } of selectImageTargets(name, trace, options)) {
    const width = sizeOf(extents);
    const random = randomStream(options.seed, hashText(`${name}.${module}`));
    // Kaiming uniform with a = √5 is U(±1/√width).
    const draw = (): number =>
      options.init === "gaussian" ? random.normal() / rank : (2 * random.uniform() - 1) / Math.sqrt(width);
    const pixels = extents.slice(1).map(() => 1);
    branches.set(module, {
      A: floatTensor([rank, ...extents], Float32Array.from({ length: rank * width }, draw)),
      B: floatTensor([out, rank, ...pixels]),
      scale: alpha / rank,
    });
  }
  return branches;
}

/** Every tensor of the named components, from their files. */
export function trainedWhole(pipeline: Pipeline, names: readonly string[]): Trained {
  const components = componentsOf(pipeline);
  const parameters = new Map<string, FloatTensor>();
  for (const name of names) {
    const component = components.get(name)!;
    for (const tensor of component.trace.tensors.keys())
      parameters.set(`${name}.${tensor}`, readOwn(component, tensor));
  }
  return {
    parameters,
    targets: [...parameters.keys()],
    adapter: new Map(),
    mount: (component, stream) => {
      const { trace, weights } = components.get(component)!;
      const inputs = new Map<string, Value>();
      const replaced = new Map<string, Value>();
      const tensors = new Map<string, FloatTensor>();
      for (const tensor of trace.tensors.keys()) {
        const key = `${component}.${tensor}`;
        const held = parameters.get(key);
        if (!held) continue;
        const value = input(key, "f32", held.shape, true);
        const module = trace.modules.get(tensor.replace(/\.weight$/, ""));
        const turned = module?.kind === "linear" && module.spec.layout === "in,out";
        inputs.set(key, value);
        replaced.set(tensor, turned ? transpose(value, [1, 0]) : value);
        tensors.set(key, held);
      }
      return { weights: weights(stream, replaced), tensors, parameters: inputs };
    },
  };
}
