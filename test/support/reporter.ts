/** The closing lines of a test run: every skip with its reason, then "N passed, N failed, N skipped" alone on a line. */

import type { Reporter, TestModule } from "vitest/node";

export default class ClosingReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const counts = { passed: 0, failed: 0, skipped: 0 };
    const skips: string[] = [];
    for (const module of modules) {
      if (module.state() === "failed" && module.children.size === 0) counts.failed++; // it could not be loaded
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === "passed") counts.passed++;
        else if (result.state === "failed") counts.failed++;
        else {
          counts.skipped++;
          skips.push(`${test.fullName}: ${("note" in result && result.note) || "no reason given"}`);
        }
      }
    }
    for (const skip of skips) console.log(`skipped  ${skip}`);
    console.log(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  }
}
