/** Which layers of a pipeline get a branch, by the sets that diffusers' and kohya's trainers use. */

import { UsageError } from "../errors.ts";
import type { ModelTrace } from "../models/trace.ts";

/**
 * attention: to_q, to_k, to_v and to_out.0 of the UNet, q, k, v and out of the text encoder (diffusers).
 * transformer: every linear layer and 1 × 1 convolution inside the UNet's transformers; attention and MLP of the text
 * encoder (kohya).
 */
export const TARGET_SETS = ["attention", "transformer"] as const;
export type TargetSet = (typeof TARGET_SETS)[number];

const TEXT: Readonly<Record<TargetSet, RegExp>> = {
  attention: /\.self_attn\.(q_proj|k_proj|v_proj|out_proj)$/,
  transformer: /\.(self_attn\.(q_proj|k_proj|v_proj|out_proj)|mlp\.(fc1|fc2))$/,
};
const UNET: Readonly<Record<TargetSet, RegExp>> = {
  attention: /\.attn[12]\.(to_q|to_k|to_v|to_out\.0)$/,
  transformer: /\.attentions\.\d+\./,
};
/** kohya's conv_dim: convolutions of residual blocks and of changes of size. */
const CONVOLUTIONS = /\.(resnets\.\d+\.(conv1|conv2|conv_shortcut)|(down|up)samplers\.\d+\.conv)$/;

export interface Target {
  readonly module: string;
  /** [r, …] without its first extent: [in], or [in, kernel, kernel]. */
  readonly input: readonly number[];
  readonly out: number;
  readonly rank: number;
  readonly alpha: number;
}

export interface TargetOptions {
  readonly targets: TargetSet;
  readonly targetModules: readonly string[] | null;
  readonly r: number;
  readonly alpha: number | null;
  readonly convR: number;
  readonly convAlpha: number | null;
}

/** The layers of one component to adapt; throws UsageError when there are none. */
export function selectImageTargets(component: string, trace: ModelTrace, options: TargetOptions): readonly Target[] {
  const { targets: set, targetModules, r, convR } = options;
  const alpha = options.alpha ?? r;
  const convAlpha = options.convAlpha ?? convR;
  const wanted = (name: string): boolean =>
    targetModules === null
      ? (component === "unet" ? UNET : TEXT)[set].test(name)
      : targetModules.some((each) => name === each || name.endsWith(`.${each}`));
  const found: Target[] = [];
  for (const { name, kind, spec } of trace.modules.values()) {
    if (kind === "linear" && wanted(name)) {
      found.push({ module: name, input: [spec.in], out: spec.out, rank: r, alpha });
    }
  }
  for (const { name, spec } of trace.convolutions.values()) {
    const input = [spec.in, spec.kernel, spec.kernel];
    if (wanted(name)) found.push({ module: name, input, out: spec.out, rank: r, alpha });
    else if (convR > 0 && CONVOLUTIONS.test(name)) {
      found.push({ module: name, input, out: spec.out, rank: convR, alpha: convAlpha });
    }
  }
  if (found.length > 0) return found;
  throw new UsageError(
    `No layer of ${component} is called ${targetModules?.join(", ") ?? set}. Layers are named like ${[...trace.modules.keys()].slice(0, 3).join(", ")}.`,
  );
}
