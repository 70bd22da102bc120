/**
 * The errors that users see. Every message says what went wrong, where, found versus needed, and the next step.
 * `exitCode` is the command line's: 1 for data, models and I/O, 2 for wrong usage.
 */
export class LowrankError extends Error {
  readonly exitCode: 1 | 2;
  constructor(message: string, { exitCode = 1, cause }: { exitCode?: 1 | 2; cause?: unknown } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "LowrankError"; // written out: minifiers rename classes
    this.exitCode = exitCode;
  }
}

/** A flag, option or combination of options that cannot work, whatever the files hold. */
export class UsageError extends LowrankError {
  constructor(message: string) {
    super(message, { exitCode: 2 });
    this.name = "UsageError";
  }
}

/** A file whose bytes are not what its format demands. */
export class FormatError extends LowrankError {
  constructor(message: string) {
    super(message);
    this.name = "FormatError";
  }
}

/** A data row or data file that cannot be trained on. */
export class DataError extends LowrankError {
  constructor(message: string) {
    super(message);
    this.name = "DataError";
  }
}

/** A checkpoint or configuration that the architecture cannot take. */
export class ModelError extends LowrankError {
  constructor(message: string) {
    super(message);
    this.name = "ModelError";
  }
}

/** An adapter that does not fit its model; `mismatches` lists every disagreement. */
export class AdapterMismatchError extends LowrankError {
  readonly mismatches: readonly string[];
  constructor(message: string, mismatches: readonly string[]) {
    super(message);
    this.name = "AdapterMismatchError";
    this.mismatches = mismatches;
  }
}

/** A graph that breaks a shape or type rule: a bug of a model file or of this library, not of the user's data. */
export class GraphError extends LowrankError {
  constructor(message: string) {
    super(message);
    this.name = "GraphError";
  }
}

/** What a thrown value says, whatever it is. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
