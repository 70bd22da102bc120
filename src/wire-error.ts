/** Errors across threads: structured cloning keeps neither their class nor their own fields. */

import {
  AdapterMismatchError,
  DataError,
  FormatError,
  GraphError,
  LowrankError,
  ModelError,
  messageOf,
  UsageError,
} from "./errors.ts";

export interface WireError {
  /** Of a LowrankError; "" for any other. */
  readonly name: string;
  readonly message: string;
  readonly stack: string;
  readonly exitCode?: 1 | 2;
  readonly mismatches?: readonly string[];
}

export function toWire(error: unknown): WireError {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  if (!(error instanceof LowrankError)) return { name: "", message: messageOf(error), stack };
  const { name, message, exitCode } = error;
  return {
    name,
    message,
    stack,
    exitCode,
    ...(error instanceof AdapterMismatchError ? { mismatches: error.mismatches } : {}),
  };
}

/** The error again, of the class it had, with the stack of where it was thrown. */
export function errorFrom(wire: WireError): Error {
  const error = rebuilt(wire);
  error.stack = wire.stack;
  return error;
}

function rebuilt({ name, message, exitCode = 1, mismatches = [] }: WireError): Error {
  switch (name) {
    case "":
      return new Error(message);
    case "UsageError":
      return new UsageError(message);
    case "FormatError":
      return new FormatError(message);
    case "DataError":
      return new DataError(message);
    case "ModelError":
      return new ModelError(message);
    case "GraphError":
      return new GraphError(message);
    case "AdapterMismatchError":
      return new AdapterMismatchError(message, mismatches);
    default:
      return new LowrankError(message, { exitCode });
  }
}
