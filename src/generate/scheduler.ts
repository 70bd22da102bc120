/**
 * Continuous batching: jobs join and leave between tokens. Each round every job hands in its next tokens, one step of
 * the engine serves them all, and each gets the scores that it asked for.
 */

import { messageOf } from "../errors.ts";
import { type Engine, LONGEST_RUN, type Tokens, type Work } from "./engine.ts";

/** What a job wants next of one of its rows: tokens of any number behind those that it holds. */
export interface Job {
  /** Rows that it takes at most. */
  readonly width: number;
  /** Tokens that its rows hold at most, all together. */
  readonly tokens: number;
  /** Called once, when there is room: opens the rows. */
  begin(): void;
  /** The next tokens of each row; none when the job is done. */
  works(): readonly Work[];
  /** Scores [V] after the last token of each work. */
  accept(scores: readonly Float32Array[]): void;
  /** Called once, at the end or after a failure: closes the rows. */
  end(error: Error | null): void;
}

export interface Scheduler {
  /** Takes a job in; the function takes it out again while it waits, and does nothing afterwards. */
  add(job: Job): () => void;
  /** Jobs at work, and jobs that wait for room. */
  readonly running: number;
  readonly waiting: number;
  /** Ends every job with this error, and those that come; resolves when none is at work. */
  stop(error: Error): Promise<void>;
}

export interface SchedulerOptions {
  /** Rows that run at once, and tokens that they may hold together; one job that needs more runs alone. */
  readonly rows: number;
  readonly tokens: number;
  /** Prompt tokens that one round reads beside the single tokens of jobs under way, so that those do not stall. */
  readonly promptTokens?: number;
}

interface Active {
  readonly job: Job;
  /** This round's works, and how many tokens of each have been read. */
  works: readonly Work[];
  readonly read: number[];
  readonly scores: (Float32Array | null)[];
}

export function createScheduler(
  engine: Engine,
  { rows, tokens, promptTokens = LONGEST_RUN }: SchedulerOptions,
): Scheduler {
  const queue: Job[] = [];
  const active = new Set<Active>();
  let busy: Promise<void> | null = null;
  let stopped: Error | null = null;

  const fits = (job: Job): boolean => {
    if (active.size === 0) return true;
    const sum = (of: (job: Job) => number): number =>
      [...active].reduce((total, each) => total + of(each.job), of(job));
    return sum(({ width }) => width) <= rows && sum((each) => each.tokens) <= tokens;
  };

  const close = (entry: Active, error: Error | null): void => {
    active.delete(entry);
    entry.job.end(error);
  };

  /** Asks a job for its next works; it ends when it has none. */
  const refill = (entry: Active): void => {
    try {
      const works = entry.job.works();
      if (works.length === 0) {
        close(entry, null);
        return;
      }
      entry.works = works;
      entry.read.splice(0, entry.read.length, ...works.map(() => 0));
      entry.scores.splice(0, entry.scores.length, ...works.map(() => null));
    } catch (error) {
      close(entry, asError(error));
    }
  };

  const admit = (): void => {
    while (queue.length > 0 && fits(queue[0]!)) {
      const entry: Active = { job: queue.shift()!, works: [], read: [], scores: [] };
      active.add(entry);
      try {
        entry.job.begin();
        refill(entry);
      } catch (error) {
        close(entry, asError(error));
      }
    }
  };

  const round = async (): Promise<void> => {
    const taken: { readonly entry: Active; readonly index: number; readonly work: Work }[] = [];
    let budget = promptTokens;
    for (const entry of active) {
      entry.works.forEach((work, index) => {
        const from = entry.read[index]!;
        const left = work.tokens.ids.length - from;
        if (entry.scores[index] !== null) return;
        const count = left === 1 && work.row.length > 0 ? 1 : Math.min(left, budget);
        if (count === 0) return;
        if (count > 1 || work.row.length === 0) budget -= count;
        taken.push({ entry, index, work: { ...work, tokens: part(work.tokens, from, from + count) } });
      });
    }
    let scores: Float32Array[];
    try {
      scores = await engine.step(taken.map(({ work }) => work));
    } catch (error) {
      for (const entry of new Set(taken.map((each) => each.entry))) close(entry, asError(error));
      return;
    }
    taken.forEach(({ entry, index, work }, i) => {
      entry.read[index]! += work.tokens.ids.length;
      if (entry.read[index] === entry.works[index]!.tokens.ids.length) entry.scores[index] = scores[i]!;
    });
    for (const entry of [...active]) {
      if (entry.works.length === 0 || entry.scores.some((each) => each === null)) continue;
      try {
        entry.job.accept(entry.scores as Float32Array[]);
        refill(entry);
      } catch (error) {
        close(entry, asError(error));
      }
    }
  };

  const loop = async (): Promise<void> => {
    for (;;) {
      if (stopped) for (const entry of [...active]) close(entry, stopped);
      else admit();
      if (active.size === 0) break;
      await round();
    }
    busy = null;
  };

  return {
    add(job) {
      if (stopped) job.end(stopped);
      else queue.push(job);
      busy ??= loop();
      return () => {
        const at = queue.indexOf(job);
        if (at < 0) return;
        queue.splice(at, 1);
        job.end(null);
      };
    },
    get running() {
      return active.size;
    },
    get waiting() {
      return queue.length;
    },
    async stop(error) {
      stopped = error;
      for (const job of queue.splice(0)) job.end(error);
      await busy;
    },
  };
}

function part({ ids, virtual }: Tokens, from: number, to: number): Tokens {
  return { ids: ids.subarray(from, to), virtual: virtual.subarray(from, to) };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(messageOf(error));
}
