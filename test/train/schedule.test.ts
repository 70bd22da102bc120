/** Learning rates against transformers' get_scheduler. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type Scheduler, scheduleFactor } from "../../src/train/schedule.ts";

interface Case {
  readonly name: Scheduler;
  readonly warmup: number;
  readonly total: number;
  readonly factors: readonly number[];
}

const { schedules } = JSON.parse(readFileSync(new URL("constants.json", import.meta.url), "utf8")) as {
  schedules: readonly Case[];
};

test.each(schedules)(
  "$name with $warmup of $total steps of warmup is transformers'",
  ({ name, warmup, total, factors }) => {
    factors.forEach((factor, i) => {
      expect(scheduleFactor(name, i + 1, warmup, total), `step ${i + 1}`).toBeCloseTo(factor, 14);
    });
  },
);
