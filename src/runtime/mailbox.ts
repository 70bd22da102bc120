/** What one side of a thread has said and the other has not yet read. */

export interface Mailbox<T> {
  put(message: T): void;
  /** The oldest message, as soon as there is one; for one reader at a time. */
  take(): Promise<T>;
}

export function mailbox<T>(): Mailbox<T> {
  const waiting: T[] = [];
  let wake: () => void = () => {};
  return {
    put: (message) => {
      waiting.push(message);
      wake();
    },
    take: async () => {
      while (waiting.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return waiting.shift()!;
    },
  };
}
