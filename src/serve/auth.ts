/** API keys: compared in constant time, whatever was sent and however many there are. */

import { createHash, timingSafeEqual } from "node:crypto";

export type KeyCheck = (authorization: string | undefined) => boolean;

/** Whether an Authorization header holds one of the keys as a bearer token. */
export function keyCheck(keys: readonly string[]): KeyCheck {
  const digests = keys.map(digest);
  return (authorization) => {
    const given = digest(/^Bearer (.+)$/i.exec(authorization ?? "")?.[1] ?? "");
    let found = false;
    for (const each of digests) {
      const same = timingSafeEqual(each, given);
      found = found || same;
    }
    return found && authorization !== undefined;
  };
}

/** Digests have one length, and their bytes tell nothing of the key's. */
function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\]|::1)$/;

export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host);
}

/** Whether a Host header names this machine's loopback: a page whose name was made to lead here does not. */
export function namesLoopback(header: string | undefined): boolean {
  return header !== undefined && isLoopback(header.replace(/:\d+$/, ""));
}
