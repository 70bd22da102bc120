/** Texts of models in a report: bounded, so that one runaway sample does not make the page. */

/** Characters of a sample that the report shows. */
const MOST_CHARACTERS = 4000;

/** `text`, or its beginning and how much is missing. Cuts between characters, never inside one. */
export function shorten(text: string): string {
  if (text.length <= MOST_CHARACTERS) return text;
  const characters = [...text.slice(0, MOST_CHARACTERS)];
  // The cut may have parted a surrogate pair; its first half is then the last character.
  if (/\p{Cs}/u.test(characters.at(-1) ?? "")) characters.pop();
  return `${characters.join("")} … (${(text.length - MOST_CHARACTERS).toLocaleString("en-US")} more characters)`;
}
