/** Reading an adapter whose folder others may write to at the same time. */

import { folderContent } from "../adapters/peft-folder.ts";
import { ModelError } from "../errors.ts";

/** What `read` gives, and the hash of the files that it read. Throws ModelError when they changed meanwhile. */
export async function readUnchanged<T>(
  path: string,
  read: () => Promise<T>,
): Promise<{ readonly value: T; readonly content: string }> {
  const content = folderContent(path);
  const value = await read();
  if (folderContent(path) !== content) {
    throw new ModelError(`${path} changed while it was read. Ask again when its files are written.`);
  }
  return { value, content };
}
