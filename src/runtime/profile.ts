/** Reads the profiles that ONNX Runtime writes (`profilePrefix` of SessionOptions): every operator that ran, in order. */

import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** One operator of one run. */
export interface Kernel {
  /** ONNX operator type. */
  readonly type: string;
  readonly milliseconds: number;
  readonly inputs: readonly (readonly number[])[];
  readonly outputs: readonly (readonly number[])[];
}

interface TraceEvent {
  readonly cat: string;
  readonly name: string;
  /** Microseconds. */
  readonly dur: number;
  readonly ts: number;
  readonly args: {
    readonly op_name?: string;
    readonly input_type_shape?: readonly Readonly<Record<string, readonly number[]>>[];
    readonly output_type_shape?: readonly Readonly<Record<string, readonly number[]>>[];
  };
}

/** The operators of every run of every session that wrote a profile with this prefix, run by run, in order of time. */
export function readProfiles(prefix: string): Kernel[][] {
  const folder = dirname(prefix);
  return readdirSync(folder)
    .filter((name) => name.startsWith(`${basename(prefix)}_`) && name.endsWith(".json"))
    .flatMap((name) => runsOf(JSON.parse(readFileSync(join(folder, name), "utf8")) as TraceEvent[]));
}

/** Operators whose bodies' operators are listed too. */
const LOOPS: ReadonlySet<string | undefined> = new Set(["Scan"]);

function runsOf(events: readonly TraceEvent[]): Kernel[][] {
  const runs = events.filter(({ name }) => name === "model_run").toSorted((a, b) => a.ts - b.ts);
  const kernels = events.filter(
    ({ cat, name, args }) => cat === "Node" && name.endsWith("_kernel_time") && !LOOPS.has(args.op_name),
  );
  return runs.map(({ ts, dur }) => kernels.filter((each) => each.ts >= ts && each.ts < ts + dur).map(kernelOf));
}

function kernelOf({ dur, args }: TraceEvent): Kernel {
  const shapes = (given: TraceEvent["args"]["input_type_shape"]): (readonly number[])[] =>
    (given ?? []).map((each) => Object.values(each)[0] ?? []);
  return {
    type: args.op_name ?? "",
    milliseconds: dur / 1000,
    inputs: shapes(args.input_type_shape),
    outputs: shapes(args.output_type_shape),
  };
}
