/** A run's events, sorted by kind, with what a report says of them first. */

import type {
  DoneEvent,
  EvalEvent,
  InterruptedEvent,
  StartEvent,
  StepEvent,
  TrainEvent,
  WarningEvent,
} from "../train/events.ts";

export interface Run {
  readonly start: StartEvent | null;
  /** One per step, in their order; of a step done twice (before and after a resume), the later one. */
  readonly steps: readonly StepEvent[];
  /** As `steps`. */
  readonly evals: readonly EvalEvent[];
  readonly warnings: readonly WarningEvent[];
  readonly interrupted: InterruptedEvent | null;
  readonly done: DoneEvent | null;
}

/** The first evaluation, and that of the weights which the run kept: its best step, else its last. */
export interface HeldOut {
  readonly before: EvalEvent;
  readonly after: EvalEvent;
}

export function runOf(events: readonly TrainEvent[]): Run {
  const of = <K extends TrainEvent["event"]>(kind: K): Extract<TrainEvent, { event: K }>[] =>
    events.filter((event): event is Extract<TrainEvent, { event: K }> => event.event === kind);
  const done = of("done").at(-1) ?? null;
  return {
    start: of("start").at(-1) ?? null,
    steps: byStep(of("step")),
    evals: byStep(of("eval")),
    warnings: of("warning"),
    interrupted: done === null ? (of("interrupted").at(-1) ?? null) : null,
    done,
  };
}

/** Null with fewer than two evaluations: one number is no comparison. */
export function heldOutOf({ evals, done }: Run): HeldOut | null {
  const before = evals[0];
  const after = evals.find(({ step }) => step === done?.bestStep) ?? evals.at(-1);
  return before === undefined || after === undefined || evals.length < 2 ? null : { before, after };
}

/** The unit of a run's loss. */
export function lossUnit({ start, steps }: Pick<Run, "start" | "steps">): string {
  if (steps.some((step) => step["logps/chosen"] !== undefined || step["logps/rejected"] !== undefined)) {
    return "mean over judged rows";
  }
  switch (start?.task) {
    case "causal-lm":
    case "masked-lm":
    case "token-classification":
      return "nats per target token";
    case "sequence-classification":
      return "nats per row";
    case "multi-label-classification":
      return "nats per label";
    case "sentence-embedding":
      return "nats per row";
    case "sentence-similarity":
      return "mean squared error of cosines";
    case "regression":
      return "mean squared error";
    default:
      return "mean per target";
  }
}

/** Module names with their numbers folded: 12 of `h.3.attn.c_attn` become `h.*.attn.c_attn × 12`. */
export function foldTargets(targets: readonly string[]): string {
  const folded = new Map<string, number>();
  for (const name of targets) {
    const pattern = name.replace(/(^|\.)\d+(?=\.|$)/g, "$1*");
    folded.set(pattern, (folded.get(pattern) ?? 0) + 1);
  }
  return [...folded].map(([pattern, times]) => (times === 1 ? pattern : `${pattern} × ${times}`)).join(", ");
}

function byStep<E extends { readonly step: number }>(events: readonly E[]): E[] {
  return [...new Map(events.map((event) => [event.step, event])).values()].sort((a, b) => a.step - b.step);
}
