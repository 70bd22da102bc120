/** The table of architectures, tasks and methods, made from the code. */

import { knownMethods } from "../adapters/bind.ts";
import { methodsOf } from "../adapters/fits.ts";
import { tasksOf } from "../models/architecture.ts";
import { listArchitectures } from "../models/registry.ts";
import { TASKS, type Task } from "../task.ts";
import { table } from "./output.ts";

export interface ArchitectureRow {
  readonly modelType: string;
  readonly tasks: readonly Task[];
  readonly methods: readonly string[];
  readonly defaultTargets: readonly string[];
}

/** Every method by its name on the command line. */
export function methodNames(): string[] {
  return [...knownMethods().map(spelled), "full"];
}

function spelled(type: string): string {
  return type.toLowerCase().replaceAll("_", "-");
}

export function architectureRows(): ArchitectureRow[] {
  return listArchitectures().flatMap((architecture) => {
    const methods = [...methodsOf(architecture).map(spelled), "full"];
    const tasks = tasksOf(architecture);
    const { defaultTargets } = architecture;
    return architecture.modelTypes.map((modelType) => ({ modelType, tasks, methods, defaultTargets }));
  });
}

/** For people: what each architecture is trained for, by which methods, and where by default. */
export function modelsText(rows: readonly ArchitectureRow[]): string {
  const marks = (title: string, names: readonly string[], has: (row: ArchitectureRow) => readonly string[]): string =>
    table([
      [title, ...names],
      ...rows.map((row) => [row.modelType, ...names.map((name) => (has(row).includes(name) ? "yes" : "-"))]),
    ]);
  return [
    marks("task", TASKS, ({ tasks }) => tasks),
    marks("method", methodNames(), ({ methods }) => methods),
    table([
      ["default target modules", ""],
      ...rows.map(({ modelType, defaultTargets }) => [modelType, defaultTargets.join(", ")]),
    ]),
  ].join("\n\n");
}
