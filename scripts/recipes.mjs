/**
 * Writes recipes/ for the paper's runs on GLUE (RoBERTa, DeBERTa) and on E2E, WebNLG and DART (GPT-2).
 * Source of the numbers: the scripts of github.com/microsoft/LoRA (examples/NLU/*.sh, examples/NLG/README.md), where the paper's tables 9
 * to 11 differ (alpha 8 of RoBERTa-base, rank 8 of DeBERTa) the scripts win: they made the released checkpoints.
 *   node scripts/recipes.mjs
 */

import { mkdirSync, writeFileSync } from "node:fs";

const root = new URL("../recipes/", import.meta.url);

/** Per task: rows a batch, epochs, learning rate, tokens a row, and what else differs. */
const GLUE = {
  "roberta-base": {
    model: "FacebookAI/roberta-base",
    common: { targetModules: "[query, value]", r: 8, alpha: 16, warmupRatio: 0.06, weightDecay: 0.1 },
    tasks: {
      mnli: [16, 30, 5e-4, 512],
      sst2: [16, 60, 5e-4, 512],
      mrpc: [16, 30, 4e-4, 512],
      cola: [32, 80, 4e-4, 512],
      qnli: [32, 25, 4e-4, 512],
      qqp: [16, 25, 5e-4, 512],
      rte: [32, 80, 5e-4, 512],
      stsb: [16, 40, 4e-4, 512],
    },
  },
  "roberta-large": {
    model: "FacebookAI/roberta-large",
    common: { targetModules: "[query, value]", r: 8, alpha: 16, warmupRatio: 0.06, weightDecay: 0.1 },
    tasks: {
      mnli: [4, 10, 3e-4, 128],
      sst2: [8, 10, 4e-4, 512],
      mrpc: [4, 20, 3e-4, 512],
      cola: [4, 20, 3e-4, 128],
      qnli: [4, 10, 2e-4, 512],
      qqp: [4, 20, 3e-4, 512],
      rte: [8, 20, 4e-4, 512],
      stsb: [4, 10, 3e-4, 128],
    },
  },
  "deberta-v2-xxlarge": {
    model: "microsoft/deberta-v2-xxlarge",
    common: { targetModules: "[query_proj, value_proj]", r: 16, alpha: 32 },
    tasks: {
      mnli: [8, 5, 1e-4, 256, { warmupSteps: 1000, weightDecay: 0 }],
      sst2: [8, 16, 6e-5, 128, { warmupSteps: 1000, weightDecay: 0.01 }],
      mrpc: [32, 30, 2e-4, 128, { warmupRatio: 0.1, weightDecay: 0.01 }],
      cola: [4, 10, 1.3e-4, 64, { warmupSteps: 100, weightDecay: 0 }],
      qnli: [6, 8, 1e-4, 512, { warmupSteps: 500, weightDecay: 0.01 }],
      qqp: [8, 11, 1e-4, 320, { warmupSteps: 10000, weightDecay: 0.01 }],
      rte: [4, 11, 2.6e-4, 320, { warmupSteps: 50, weightDecay: 0.01 }],
      stsb: [4, 10, 2e-4, 128, { warmupSteps: 100, weightDecay: 0.1 }],
    },
  },
};

const NLG = {
  e2e: { dropout: 0.1, weightDecay: 0.01, labelSmoothing: 0.1 },
  webnlg: { dropout: 0.1, weightDecay: 0.01, labelSmoothing: 0.1 },
  dart: { dropout: 0, weightDecay: 0, labelSmoothing: 0 },
};

mkdirSync(root, { recursive: true });
const write = (name, comments, options) => {
  const lines = Object.entries(options).map(([key, value]) => `${key}: ${value}`);
  writeFileSync(new URL(`${name}.yaml`, root), `${[...comments.map((line) => `# ${line}`), ...lines].join("\n")}\n`);
};

for (const [family, { model, common, tasks }] of Object.entries(GLUE)) {
  for (const [task, [batchSize, epochs, lr, maxLength, more = {}]] of Object.entries(tasks)) {
    const name = `${family}-${task}`;
    const fromMnli = ["mrpc", "rte", "stsb"].includes(task);
    write(
      name,
      [
        `${family} on ${task}, as microsoft/LoRA examples/NLU/${family.replaceAll("-", "_")}_${task}.sh (one process in place of its eight).`,
        ...(fromMnli
          ? ["The paper starts this task from its MNLI adapter; this recipe starts anew, as its rows with † do."]
          : []),
        `lowrank train --config recipes/${name}.yaml`,
      ],
      {
        model,
        data: `nyu-mll/glue/${task}`,
        task: task === "stsb" ? "regression" : "sequence-classification",
        out: `runs/${name}`,
        method: "lora",
        ...common,
        ...more,
        batchSize,
        epochs,
        lr,
        maxLength,
        scheduler: "linear",
        modelDropout: true,
        seed: 0,
      },
    );
  }
}

for (const size of ["medium", "large"]) {
  for (const [task, { dropout, weightDecay, labelSmoothing }] of Object.entries(NLG)) {
    const name = `gpt2-${size}-${task}`;
    write(
      name,
      [
        `GPT-2 ${size} on ${task}, as microsoft/LoRA examples/NLG/README.md: r = 4 on q and v inside c_attn.`,
        `Rows: node scripts/nlg-data.mjs ${task} PATH_OF_LORA/examples/NLG/data data/${task}`,
        `lowrank train --config recipes/${name}.yaml, then`,
        `lowrank eval --model openai-community/gpt2-${size} --adapter runs/${name} --data data/${task}/test.jsonl --generate --beams 10 --length-penalty 0.8 --no-repeat-ngram 4 --max-tokens 64`,
      ],
      {
        model: `openai-community/gpt2-${size}`,
        data: `data/${task}`,
        task: "causal-lm",
        out: `runs/${name}`,
        adapterConfig: "recipes/gpt2-qv.json",
        dropout,
        weightDecay,
        labelSmoothing,
        batchSize: 8,
        epochs: 5,
        lr: 2e-4,
        maxLength: 512,
        scheduler: "linear",
        warmupSteps: 500,
        maxGradNorm: 0,
        modelDropout: true,
        seed: 110,
      },
    );
  }
}
writeFileSync(
  new URL("gpt2-qv.json", root),
  `${JSON.stringify({ peft_type: "LORA", r: 4, lora_alpha: 32, target_modules: ["c_attn"], enable_lora: [true, false, true] }, null, 2)}\n`,
);
