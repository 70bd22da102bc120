/** Paths that files from strangers name. */

/** Whether a relative path stays in its folder: plain segments only, no `..`, drive letter, backslash or NUL. */
export function staysInside(path: string): boolean {
  return path.split("/").every((part) => part !== "" && part !== "." && part !== ".." && !/[\\:\0]/.test(part));
}
