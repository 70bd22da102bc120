/** What a run may spend memory on, in the words of its options. */

/** Whether blocks are computed again in the backward pass instead of being kept. */
export const RECOMPUTES = ["auto", "none", "full"] as const;
export type Recompute = (typeof RECOMPUTES)[number];

/** Whether matrices of the base are held rearranged. */
export const PREPACKS = ["auto", "on", "off"] as const;
export type Prepack = (typeof PREPACKS)[number];
