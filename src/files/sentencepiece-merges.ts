/** Merges of a SentencePiece BPE, which stores none: they follow from its pieces. */

export interface PieceMerge {
  readonly left: string;
  readonly right: string;
  readonly leftId: number;
  readonly rightId: number;
  /** Id of the piece that the two make. */
  readonly id: number;
}

/**
 * Every way in which two pieces make a third, in the order of the third's id and then of the left one's length.
 * Pieces that are null neither merge nor are made.
 */
export function possibleMerges(pieces: readonly (string | null)[]): PieceMerge[] {
  const ids = new Map(pieces.flatMap((piece, id) => (piece === null ? [] : [[piece, id] as const])));
  return pieces.flatMap((piece, id) => {
    const merges: PieceMerge[] = [];
    for (let at = 0; piece !== null && at < piece.length; ) {
      at += piece.codePointAt(at)! > 0xffff ? 2 : 1;
      const [left, right] = [piece.slice(0, at), piece.slice(at)];
      const [leftId, rightId] = [ids.get(left), ids.get(right)];
      if (right !== "" && leftId !== undefined && rightId !== undefined) {
        merges.push({ left, right, leftId, rightId, id });
      }
    }
    return merges;
  });
}
