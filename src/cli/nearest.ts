/** The known name that a mistyped one probably means. */

/** Null when none is near: more than a third of the letters would have to change. */
export function nearest(name: string, known: readonly string[]): string | null {
  let best: { readonly each: string; readonly distance: number } | null = null;
  for (const each of known) {
    const distance = each.startsWith(name) && name.length > 3 ? 1 : editDistance(name, each);
    if (!best || distance < best.distance) best = { each, distance };
  }
  return best && best.distance <= Math.max(1, Math.floor(name.length / 3)) ? best.each : null;
}

/** Insertions, deletions, replacements and swaps of neighbours that turn a into b. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, rows[i - 2]![j - 2]! + 1);
      row.push(cost);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
