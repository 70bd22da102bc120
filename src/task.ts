/** What a model is trained for. The names of `--task`. */
export const TASKS = [
  "causal-lm",
  "masked-lm",
  "sequence-classification",
  "regression",
  "token-classification",
] as const;

export type Task = (typeof TASKS)[number];
