/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The page's script: shows what the server draws, again when a run has gone on, and lets answers stream in. */

import { linesOf } from "./lines.ts";

const part = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const [runs, view, answers, note] = [part("runs"), part("view"), part("answers"), part("chatnote")];
const form = document.querySelector("form") as HTMLFormElement;
const token = document.querySelector("nav")!.dataset["token"]!;

function chosen(): string[] {
  return new URLSearchParams(location.hash.slice(1)).getAll("run");
}

async function fill(frame: HTMLElement, path: string): Promise<void> {
  const query = new URLSearchParams(chosen().map((id) => ["run", id]));
  const response = await fetch(`${path}?${query}`);
  const text = await response.text();
  if (response.ok) {
    if (frame.innerHTML !== text) frame.innerHTML = text; // drawn by the server, which escapes what runs hold
  } else frame.textContent = text;
}

/** Draws everything again; calls that come while one is under way become one call behind it. */
let drawing = false;
let again = false;
async function draw(): Promise<void> {
  if (drawing) {
    again = true;
    return;
  }
  drawing = true;
  try {
    do {
      again = false;
      await Promise.all([fill(runs, "/parts/runs"), fill(view, "/parts/view")]);
    } while (again);
  } finally {
    drawing = false;
  }
}

runs.addEventListener("change", () => {
  const boxes = [...runs.querySelectorAll<HTMLInputElement>("input:checked")];
  location.hash = new URLSearchParams(boxes.map(({ value }) => ["run", value])).toString();
});
addEventListener("hashchange", () => void draw());
new EventSource("/changes").addEventListener("message", () => void draw());

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void ask();
});

async function ask(): Promise<void> {
  const data = new FormData(form);
  const button = form.querySelector("button")!;
  button.disabled = true;
  note.textContent = "Opening the model and answering …";
  answers.replaceChildren();
  const columns = new Map<string, HTMLElement>();
  try {
    const response = await fetch("/chat", {
      method: "POST",
      headers: { "content-type": "application/json", "x-lowrank-token": token },
      body: JSON.stringify({
        runs: chosen(),
        prompt: String(data.get("prompt")),
        chat: data.has("chat"),
        maxTokens: Number(data.get("maxTokens")),
        temperature: Number(data.get("temperature")),
      }),
    });
    for await (const line of linesOf(response)) {
      const { column, text, error } = JSON.parse(line) as { column?: string; text?: string; error?: string };
      if (error !== undefined) throw new Error(error);
      if (column === undefined) continue;
      if (!columns.has(column)) columns.set(column, addColumn(column));
      columns.get(column)!.append(text ?? "");
    }
    note.textContent = "Answered.";
  } catch (error) {
    note.textContent = error instanceof Error ? error.message : String(error);
  } finally {
    button.disabled = false;
  }
}

function addColumn(name: string): HTMLElement {
  const column = document.createElement("div");
  const heading = document.createElement("h4");
  const text = document.createElement("p");
  heading.textContent = name;
  text.className = "sample";
  column.append(heading, text);
  answers.append(column);
  return text;
}

void draw();
