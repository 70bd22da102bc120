/** `lowrank quickstart`: the main job, on the embedded base and real text, from training to a proven merge. */

import { mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Adapter } from "../../adapters/adapter.ts";
import { writeFileAtomic, writeJsonAtomic } from "../../files/atomic.ts";
import { type Command, defineCommand } from "../command.ts";
import type { Output } from "../output.ts";
import { BASE, LESSONS, type Lesson, PROMPTS } from "../quickstart/lessons.ts";
import { type Lived, measureSwitch, trainLesson } from "../quickstart/steps.ts";
import { defaultThreads } from "../threads.ts";

const command: Command = defineCommand({
  summary: "Train, switch, blend and merge adapters on the embedded base, in about a minute",
  usage: "[--out DIR]",
  flags: {
    out: { type: "string", value: "DIR", help: "Folder for adapters and report", shown: "runs/quickstart" },
    threads: { type: "integer", help: "Threads to compute with (one a core)" },
  },
  run: async ({ flags: { out = "runs/quickstart", threads = defaultThreads() }, output }) => {
    const started = performance.now();
    rmSync(out, { recursive: true, force: true });
    mkdirSync(out, { recursive: true });
    const [{ loadBase }, { nodeRuntime }, { mergeHere }, { quickstartReport }] = await Promise.all([
      import("../../generate/load.ts"),
      import("../../runtime/node.ts"),
      import("../../merge/merge.ts"),
      import("../../report/quickstart-report.ts"),
    ]);
    output.line(`Two LoRA adapters on ${BASE}, a small GPT-2 that has never read texts like theirs.\n`);

    const lived: Lived[] = [];
    for (const lesson of LESSONS) lived.push(await trainLesson(lesson, { out, threads, output }));

    const base = await loadBase(BASE, { threads }, nodeRuntime);
    const adapters: Adapter[] = [];
    for (const { path } of lived) adapters.push(await base.adapter(path));
    const samples = [];
    for (const prompt of PROMPTS) {
      const outputs = [];
      for (const { label, weights } of voices(LESSONS)) {
        const set = weights.map((weight, i) => [adapters[i]!, weight] as const);
        const { text } = await base.complete({
          prompt,
          adapters: set,
          maxTokens: 40,
          temperature: 0.6,
          topK: 40,
          seed: 7,
        });
        outputs.push({ label, text });
      }
      samples.push({ prompt, outputs });
      showSample(samples.at(-1)!, output);
    }

    const results = [];
    for (const [i, each] of lived.entries()) {
      const merged = join(out, `${each.name}-merged`);
      const { maxAbsDiff } = await mergeHere(
        {
          model: BASE,
          adapters: [{ name: each.name, path: each.path, weight: 1 }],
          out: merged,
          dtype: "f32",
          threads,
        },
        nodeRuntime,
      );
      const switchMs = measureSwitch(base.model, adapters[i]!);
      results.push({ ...each, mergeMaxAbsDiff: maxAbsDiff, switchMs });
      output.line(
        `merged ${each.name}: logits differ from base + adapter by at most ${maxAbsDiff.toExponential(1)}; switching to it takes ${switchMs.toPrecision(2)} ms`,
      );
    }
    const { model } = base;
    await base.close();

    const next = [
      "npx lowrank train --model embedded:gpt2-tiny --data YOUR.jsonl --out runs/mine",
      `npx lowrank generate --model embedded:gpt2-tiny --adapter ${lived[0]!.path} --prompt "In the evening"`,
    ];
    const report = {
      base: BASE,
      adapters: results.map(({ description: _d, curve: _c, evalCurve: _e, ...fields }) => fields),
    };
    writeJsonAtomic(join(out, "report.json"), report);
    const page = quickstartReport({
      base: {
        name: BASE,
        parameters: lived[0]!.totalParameters - lived[0]!.trainableParameters,
        bytes: model.files.reduce((sum, file) => sum + statSync(file).size, 0),
      },
      adapters: results,
      samples,
      facts: [
        ["node", process.version],
        ["threads", threads],
        ["seconds in all", Math.round((performance.now() - started) / 1000)],
      ],
      next,
    });
    writeFileAtomic(join(out, "report.html"), new TextEncoder().encode(page));
    output.result(
      report,
      () =>
        `\nDone in ${((performance.now() - started) / 1000).toFixed(0)} s. Open ${join(out, "report.html")}\n\nYour own data, one {"text": …} or {"prompt": …, "completion": …} a line:\n  ${next[0]}`,
    );
    return 0;
  },
});

export default command;

/** Who continues each prompt: the base, each adapter alone, and all of them blended in equal parts. */
function voices(lessons: readonly Lesson[]): { label: string; weights: readonly number[] }[] {
  const none = lessons.map(() => 0);
  return [
    { label: "base", weights: none },
    ...lessons.map(({ name }, i) => ({ label: name, weights: none.with(i, 1) })),
    { label: lessons.map(({ name }) => `${name}@0.5`).join(" + "), weights: lessons.map(() => 0.5) },
  ];
}

function showSample(
  { prompt, outputs }: { prompt: string; outputs: readonly { label: string; text: string }[] },
  output: Output,
): void {
  output.line(`\n${output.style.bold(JSON.stringify(prompt))}`);
  for (const { label, text } of outputs)
    output.line(`  ${output.style.dim(`${label}:`)} ${text.replaceAll(/\s+/g, " ").trim()}`);
}
