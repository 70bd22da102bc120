/** Errors as HTTP answers, in OpenAI's shape. */

import { DataError, LowrankError, ModelError, messageOf, UsageError } from "../errors.ts";

export type ErrorStatus = 400 | 401 | 403 | 404 | 405 | 413 | 429 | 500 | 501 | 503 | 504;

export class HttpError extends LowrankError {
  readonly status: ErrorStatus;
  readonly code: string | null;
  constructor(status: ErrorStatus, message: string, code: string | null = null) {
    super(message);
    this.name = "HttpError";
    this.status = status;
    this.code = code;
  }
}

export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: null;
    readonly code: string | null;
  };
}

/** Texts of messages that clients are not shown, and what stands in their place. */
export type Hidden = readonly (readonly [text: string, shown: string])[];

/** The answer to what was thrown: a request that cannot work is 400, an error of ours 500 without its details. */
export function answerTo(error: unknown, hidden: Hidden): { readonly status: ErrorStatus; readonly body: ErrorBody } {
  if (error instanceof HttpError) {
    return { status: error.status, body: bodyOf(error.status, hide(error.message, hidden), error.code) };
  }
  const known = error instanceof UsageError || error instanceof DataError || error instanceof ModelError;
  if (known) return { status: 400, body: bodyOf(400, hide(messageOf(error), hidden), null) };
  return { status: 500, body: bodyOf(500, "The server failed on this request.", null) };
}

const TYPES: Readonly<Record<ErrorStatus, string>> = {
  400: "invalid_request_error",
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  405: "invalid_request_error",
  413: "invalid_request_error",
  429: "rate_limit_error",
  500: "server_error",
  501: "not_implemented_error",
  503: "unavailable_error",
  504: "timeout_error",
};

export function hide(message: string, hidden: Hidden): string {
  return hidden.reduce((text, [secret, shown]) => text.replaceAll(secret, shown), message);
}

function bodyOf(status: ErrorStatus, message: string, code: string | null): ErrorBody {
  return { error: { message, type: TYPES[status], param: null, code } };
}
