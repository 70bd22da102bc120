/** What a failed file operation says to the user: which path, why, and the next step. */

import { LowrankError, messageOf } from "../errors.ts";

const CAUSES: Readonly<Record<string, string>> = {
  ENOENT: "no such file or folder. Check the path",
  ENOTDIR: "a part of the path is a file, not a folder. Check the path",
  EISDIR: "it is a folder. Give the path of a file",
  EACCES: "permission denied. Change the permissions or choose another place",
  EPERM: "the operation is not permitted. Change the permissions or choose another place",
  EROFS: "the file system is read-only. Choose another place",
  ENOSPC: "no space left on the device. Free some space or choose another place",
  EDQUOT: "the disk quota is used up. Free some space or choose another place",
  EFBIG: "the file system takes no file of this size. Choose another place",
  EIO: "the device reported an input/output error. Check the disk",
  ELOOP: "the path is a circle of symbolic links. Check the links",
  EMFILE: "too many files are open. Close some or raise the limit (ulimit -n)",
};

/** The code of a system error (`ENOENT`), or undefined for any other thrown value. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** An error that names the path; one that is already meant for users stays as it is. */
export function ioError(action: "read" | "write", path: string, error: unknown): LowrankError {
  if (error instanceof LowrankError) return error;
  const code = errnoOf(error);
  const why = (code !== undefined && CAUSES[code]) || messageOf(error);
  return new LowrankError(`cannot ${action} ${path}${code === undefined ? "" : ` (${code})`}: ${why}.`, {
    cause: error,
  });
}
