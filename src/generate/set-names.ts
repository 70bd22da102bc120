/** Names of adapters, and sets of them with weights, as one text: "a", "a@0.7,b@-0.3". */

/** What an adapter may be called. */
const NAME = /^[A-Za-z0-9][\w.-]{0,127}$/;
const HIGHEST_WEIGHT = 1e3;

export function isAdapterName(name: string): boolean {
  return NAME.test(name) && !name.includes("..");
}

/** The set of a text; null when it is no such text. */
export function setNames(text: string): readonly (readonly [name: string, weight: number])[] | null {
  const set = text.split(",").map((part): readonly [string, number] | null => {
    const at = part.lastIndexOf("@");
    const name = at < 0 ? part : part.slice(0, at);
    const number = at < 0 ? "1" : part.slice(at + 1);
    const weight = Number(number);
    return isAdapterName(name) && number.trim() !== "" && Math.abs(weight) <= HIGHEST_WEIGHT ? [name, weight] : null;
  });
  return set.every((each) => each !== null) ? set : null;
}
