/** What a model is trained for. The names of `--task`. */
export const TASKS = [
  "causal-lm",
  "masked-lm",
  "sequence-classification",
  "multi-label-classification",
  "regression",
  "token-classification",
  "sentence-embedding",
  "sentence-similarity",
] as const;

export type Task = (typeof TASKS)[number];

/** Whether a row's label is a number for each output, not the number of a class. */
export function labelsValues(task: Task): boolean {
  return task === "regression" || task === "multi-label-classification";
}

/** Whether the model's outputs are what rows or tokens are labelled with, not the vocabulary. */
export function classifies(task: Task): boolean {
  return task !== "causal-lm" && task !== "masked-lm" && !embeds(task);
}

/** Whether rows are texts whose embeddings are compared. */
export function embeds(task: Task): boolean {
  return task === "sentence-embedding" || task === "sentence-similarity";
}
