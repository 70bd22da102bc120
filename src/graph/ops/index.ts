/** Every op, by room: what models, adapters and losses are written in. */

export * from "./activation.ts";
export * from "./arithmetic.ts";
export * from "./attention.ts";
export * from "./blocks.ts";
export * from "./broadcast.ts";
export * from "./conv.ts";
export * from "./gather.ts";
export * from "./matmul.ts";
export * from "./movement.ts";
export * from "./norm.ts";
export * from "./quantise.ts";
export * from "./reduce.ts";
export * from "./resize.ts";
export * from "./rotary.ts";
export * from "./rule.ts";
export * from "./turns.ts";
