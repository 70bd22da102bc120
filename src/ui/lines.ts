/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** Lines of a response as they arrive: a module of the pages' scripts. */

export async function* linesOf(response: Response): AsyncGenerator<string> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = done ? "" : lines.pop()!;
    for (const line of lines) if (line !== "") yield line;
    if (done) return;
  }
}
