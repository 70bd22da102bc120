/** Untrusted names in messages. */

/** A name of a file's own choosing, fit for a message: quoted, control characters escaped, shortened. */
export function quoteName(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name);
}
