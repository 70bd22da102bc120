/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The images page's script: sends what is to be drawn, shows pictures as they come, keeps sliders where they were put. */

import { linesOf } from "./lines.ts";

const part = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const [adapters, gallery, frame, note] = [part("adapters"), part("gallery"), part("frame"), part("note")];
const [progress, cancel] = [part<HTMLProgressElement>("progress"), part<HTMLButtonElement>("cancel")];
const form = document.querySelector("form") as HTMLFormElement;
const token = document.querySelector("nav")!.dataset["token"]!;
/** Milliseconds in which a slider must rest before its picture is begun. */
const REST = 150;

/** Weights by adapter: the list is drawn anew when a run saves. */
const weights = new Map<string, number>();
const field = (name: string): HTMLInputElement => form.elements.namedItem(name) as HTMLInputElement;

interface DrawnLine {
  readonly event: "step" | "preview" | "image" | "warning" | "error";
  readonly step?: number;
  readonly steps?: number;
  readonly png?: string;
  readonly seconds?: number;
  readonly kept?: string | null;
  readonly message?: string;
}

/** What is being drawn; a new picture takes its place. */
let current: AbortController | null = null;

async function draw(keep: boolean): Promise<void> {
  if (!form.reportValidity()) return;
  current?.abort();
  const own = new AbortController();
  current = own;
  cancel.disabled = false;
  progress.hidden = false;
  progress.removeAttribute("value");
  note.textContent = "Opening the model and drawing …";
  const warnings: string[] = [];
  try {
    const response = await fetch("/images/draw", {
      method: "POST",
      headers: { "content-type": "application/json", "x-lowrank-token": token },
      signal: own.signal,
      body: JSON.stringify({
        prompt: field("prompt").value,
        negativePrompt: field("negativePrompt").value,
        seed: Number(field("seed").value),
        steps: Number(field("steps").value),
        guidance: Number(field("guidance").value),
        adapters: [...weights].filter(([, weight]) => weight > 0).map(([id, weight]) => ({ id, weight })),
        keep,
      }),
    });
    if (!response.ok) throw new Error(await response.text());
    for await (const line of linesOf(response)) {
      const { event, step = 0, steps = 1, png, seconds = 0, kept, message = "" } = JSON.parse(line) as DrawnLine;
      if (event === "error") throw new Error(message);
      if (event === "warning") warnings.push(message);
      if (event === "step") {
        progress.value = step / steps;
        note.textContent = `Step ${step} of ${steps}`;
      }
      if (png !== undefined) show(png);
      if (event === "image") {
        const where = kept ? "It is in the gallery." : "Draw keeps it in the gallery.";
        note.textContent = [`Drawn in ${seconds.toFixed(1)} s. ${where}`, ...warnings].join(" ");
      }
    }
  } catch (error) {
    if (own.signal.aborted) {
      if (current === own) note.textContent = "Cancelled.";
    } else note.textContent = error instanceof Error ? error.message : String(error);
  } finally {
    if (current === own) {
      current = null;
      cancel.disabled = true;
      progress.hidden = true;
    }
  }
}

function show(png: string): void {
  const image = frame.querySelector("img") ?? document.createElement("img");
  image.alt = field("prompt").value;
  image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth <= 128), { once: true });
  image.src = `data:image/png;base64,${png}`;
  if (!image.isConnected) frame.replaceChildren(image);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void draw(true);
});
part("another").addEventListener("click", () => {
  field("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
  void draw(true);
});
cancel.addEventListener("click", () => current?.abort());

let resting: ReturnType<typeof setTimeout> | undefined;
adapters.addEventListener("input", ({ target }) => {
  const slider = target as HTMLInputElement;
  setWeight(slider, Number(slider.value));
  clearTimeout(resting);
  if (field("live").checked && field("prompt").value !== "") resting = setTimeout(() => void draw(false), REST);
});
adapters.addEventListener("click", ({ target }) => {
  const word = (target as HTMLElement).dataset["word"];
  const prompt = field("prompt");
  if (word === undefined || prompt.value.includes(word)) return;
  prompt.value = prompt.value === "" ? word : `${prompt.value}, ${word}`;
});

function setWeight(slider: HTMLInputElement, weight: number): void {
  weights.set(slider.name, weight);
  slider.value = String(weight);
  slider.closest("li")!.querySelector("output")!.textContent = String(weight);
}

gallery.addEventListener("click", ({ target }) => {
  const text = (target as HTMLElement).dataset["settings"];
  if (text === undefined) return;
  const settings = JSON.parse(text) as Record<string, unknown>;
  for (const name of ["prompt", "negativePrompt", "seed", "steps", "guidance"]) {
    field(name).value = String(settings[name] ?? "");
  }
  const used = new Map(
    (settings["adapters"] as { name: string; unet: number }[]).map(({ name, unet }) => [name, unet]),
  );
  for (const slider of sliders()) {
    setWeight(slider, used.get(slider.name) ?? 0);
    used.delete(slider.name);
  }
  note.textContent =
    used.size === 0 ? "These settings are in the form." : `Not here any more: ${[...used.keys()].join(", ")}.`;
  form.scrollIntoView({ block: "nearest" });
});

function sliders(): HTMLInputElement[] {
  return [...adapters.querySelectorAll<HTMLInputElement>("input:enabled")];
}

async function fill(element: HTMLElement, path: string): Promise<void> {
  const response = await fetch(path);
  const text = await response.text();
  if (response.ok)
    element.innerHTML = text; // drawn by the server, which escapes what files hold
  else element.textContent = text;
}

async function refresh(): Promise<void> {
  await Promise.all([fill(adapters, "/images/parts/adapters"), fill(gallery, "/images/parts/gallery")]);
  const here = sliders();
  for (const id of weights.keys()) if (!here.some(({ name }) => name === id)) weights.delete(id);
  for (const slider of here) setWeight(slider, weights.get(slider.name) ?? 0);
}

new EventSource("/images/changes").addEventListener("message", () => void refresh());
