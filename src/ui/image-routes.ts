/** What the images page asks of the server: its parts, its pictures, and to draw. */

import { join } from "node:path";
import type { Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { stream as streamText } from "hono/streaming";
import { z } from "zod";
import { openPipeline } from "../diffusion/pipeline.ts";
import { evenWeights, parsePrompt } from "../diffusion/prompt.ts";
import { LowrankError, messageOf, UsageError } from "../errors.ts";
import { fragment } from "../report/html.ts";
import { changes } from "./changes.ts";
import { pictureFolder } from "./gallery.ts";
import { adapterFolder, type FoundAdapter } from "./image-adapters.ts";
import type { DrawCall, ImageBase, UsedAdapter } from "./image-messages.ts";
import { adapterList, galleryView, imagePage, MOST_WEIGHT } from "./image-page.ts";
import { createDrawer } from "./image-thread.ts";

export interface ImageSettings {
  /** Folder whose adapters are offered; pictures go into its folder "pictures". */
  readonly runs: string;
  readonly base: ImageBase;
  readonly threads: number;
  readonly version: string;
  readonly token: string;
  readonly ended: AbortSignal;
}

const MOST_BODY = 2 ** 16;
const MOST_TEXT = 4000;
/** Previews of a picture on its way. */
const PREVIEWS = 3;

const drawBody = z.strictObject({
  prompt: z.string().min(1).max(MOST_TEXT),
  negativePrompt: z.string().max(MOST_TEXT),
  seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1),
  steps: z.int().min(1).max(200),
  guidance: z.number().min(0).max(30),
  adapters: z.array(z.strictObject({ id: z.string(), weight: z.number().min(0).max(MOST_WEIGHT) })).max(16),
  /** Whether the picture goes into the gallery. */
  keep: z.boolean(),
});
type DrawBody = z.infer<typeof drawBody>;

export function addImages(app: Hono, settings: ImageSettings): { close(): Promise<void> } {
  const { runs, base, threads, version, token, ended } = settings;
  const found = adapterFolder(runs);
  const gallery = pictureFolder(join(runs, "pictures"));
  const drawer = createDrawer({ base, threads, version });
  let about: { readonly name: string; readonly width: number } | null = null;
  const open = (): { readonly name: string; readonly width: number } => {
    if (about) return about;
    const { name, unet } = openPipeline(base.model, base);
    about = { name, width: unet.config.cross_attention_dim };
    return about;
  };

  app.get("/images", (context) => {
    try {
      return context.html(imagePage(token, open().name, null));
    } catch (error) {
      return context.html(imagePage(token, base.model, messageOf(error)));
    }
  });
  app.get("/images/parts/adapters", (context) =>
    told(context, () => context.html(fragment(adapterList(found.list(), open().width)))),
  );
  app.get("/images/parts/gallery", (context) => context.html(fragment(galleryView(gallery.list()))));
  app.get("/images/files/:name", (context) => {
    const png = gallery.read(context.req.param("name"));
    return png
      ? context.body(png, 200, { "content-type": "image/png" })
      : context.text("There is no such picture.", 404);
  });
  app.get("/images/changes", (context) =>
    changes(context, ended, () => [
      found.list().map(({ id, time, step }) => [id, time, step]),
      gallery.list().map(({ name }) => name),
    ]),
  );

  app.post("/images/draw", bodyLimit({ maxSize: MOST_BODY }), async (context) => {
    const body = drawBody.safeParse(await context.req.json().catch(() => null));
    return streamText(context, async (answer) => {
      const line = (value: object): Promise<unknown> => answer.write(`${JSON.stringify(value)}\n`);
      const gone = new AbortController();
      answer.onAbort(() => gone.abort());
      ended.addEventListener("abort", () => gone.abort(), { once: true });
      try {
        if (!body.success) throw new LowrankError(z.prettifyError(body.error));
        for await (const event of drawer.draw(callOf(body.data, found.list()), gone.signal)) {
          if (event.event === "step" || event.event === "warning") {
            await line(event);
            continue;
          }
          const { png, ...rest } = event;
          const kept = event.event === "image" && body.data.keep ? gallery.add(png, body.data.seed) : null;
          await line({ ...rest, png: Buffer.from(png).toString("base64"), kept });
        }
      } catch (error) {
        await line({ event: "error", message: messageOf(error) });
      }
    });
  });
  return drawer;
}

/** The drawing thread's call; tags in the prompt come before sliders. Throws UsageError for an adapter that is not there. */
function callOf(body: DrawBody, adapters: readonly FoundAdapter[]): DrawCall {
  const { prompt, negativePrompt, seed, steps, guidance } = body;
  const { text, tags } = parsePrompt(prompt);
  const weights = new Map(body.adapters.map(({ id, weight }) => [id, evenWeights(weight)]));
  for (const tag of tags) weights.set(tag.name, tag.weights);
  const used = [...weights].flatMap(([id, each]): UsedAdapter[] => {
    const adapter = adapters.find((one) => one.id === id);
    if (!adapter) {
      const names = adapters.map((one) => one.id).join(", ") || "none";
      throw new UsageError(`There is no adapter ${id}. Found: ${names}.`);
    }
    if (each.unet === 0 && each.text === 0) return [];
    return [{ name: id, file: adapter.file, time: adapter.time, weights: each }];
  });
  return {
    typed: prompt,
    prompt: text,
    negativePrompt: negativePrompt === "" ? null : negativePrompt,
    options: { steps, guidance, seed, previewSteps: Math.ceil(steps / (PREVIEWS + 1)) },
    adapters: used,
  };
}

/** The answer, or why there is none. */
function told(context: Context, answer: () => Response | Promise<Response>): Response | Promise<Response> {
  try {
    return answer();
  } catch (error) {
    return context.text(messageOf(error), 500);
  }
}
