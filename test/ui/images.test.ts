/// <reference lib="dom" />
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { decodePng, encodePng, pngTexts } from "../../src/files/png.ts";
import { writeSafetensors } from "../../src/files/safetensors.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";
import { lowrank } from "../cli/lowrank.ts";
import { CHROMIUM, errorsOf, type StartedUi, startPages, status, tokenOf } from "./browser.ts";

const CAPTION = "a large red circle on a white background";
/** A run's adapter, one of Stable Diffusion 1's width, a picture of unknown making, and the pages over them. */
let runs = "";
let ui: StartedUi;

beforeAll(async () => {
  runs = mkdtempSync(join(tmpdir(), "lowrank-images-"));
  const data = join(runs, "data");
  mkdirSync(data);
  const gray = { width: 32, height: 32, data: new Uint8Array(3 * 32 * 32).fill(90) };
  writeFileSync(join(data, "one.png"), encodePng(gray));
  const settings = ["--lr", "3e-2", "--max-steps", "3", "--train-text-encoder", "--r", "8", "--threads", "1"];
  const { code, stderr } = await lowrank(
    ...["image", "train", "--model", "embedded:diffusion-tiny", "--data", data, "--out", join(runs, "gray")],
    ...["--trigger", "<i>all gray", "--targets", "transformer", ...settings],
  );
  expect(code, stderr).toBe(0);
  const layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k";
  writeSafetensors(join(runs, "foreign.safetensors"), [
    [`${layer}.lora_down.weight`, floatTensor([1, 768], new Float32Array(768))],
    [`${layer}.lora_up.weight`, floatTensor([320, 1], new Float32Array(320))],
  ]);
  mkdirSync(join(runs, "pictures"));
  writeFileSync(join(runs, "pictures", "0.png"), encodePng(gray));
  ui = await startPages("--runs", runs);
});
afterAll(async () => {
  expect(await ui.stop()).toBe(0);
  rmSync(runs, { recursive: true, force: true });
});

interface Line {
  readonly event: string;
  readonly png?: string;
  readonly kept?: string | null;
  readonly message?: string;
}

const BODY = { prompt: CAPTION, negativePrompt: "", seed: 5, steps: 4, guidance: 3, keep: true };

async function ask(body: object): Promise<Line[]> {
  const headers = { "content-type": "application/json", "x-lowrank-token": await tokenOf(ui.url) };
  const answer = await status(ui.url, "/images/draw", { method: "POST", headers, body: JSON.stringify(body) });
  return answer.text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}

test("pictures are those of image generate, and tell what made them", async () => {
  const lines = await ask({ ...BODY, adapters: [{ id: "gray", weight: 0.75 }], negativePrompt: "blue" });
  expect(lines.filter(({ event }) => event === "step")).toHaveLength(4);
  expect(lines.filter(({ event }) => event === "preview").length).toBeGreaterThan(0);
  const drawn = lines.at(-1)!;
  const file = readFileSync(join(runs, "pictures", drawn.kept!));
  expect(file.toString("base64")).toBe(drawn.png);
  const out = join(runs, "same.png");
  const { code, stderr } = await lowrank(
    ...["image", "generate", "--model", "embedded:diffusion-tiny", "--adapter", `gray=${join(runs, "gray")}@0.75`],
    ...["--prompt", CAPTION, "--negative-prompt", "blue", "--steps", "4", "--guidance", "3", "--seed", "5"],
    ...["--threads", "1", "--out", out],
  );
  expect(code, stderr).toBe(0);
  expect(file.equals(readFileSync(out))).toBe(true);
  expect(JSON.parse(pngTexts(file).get("lowrank")!)).toMatchObject({
    prompt: CAPTION,
    adapters: [{ name: "gray", unet: 0.75, text: 0.75 }],
  });
});

test("an adapter's weight is the slider's or the tag's; at 0 the picture is the base's", async () => {
  const png = async (more: object): Promise<string> => (await ask({ ...BODY, keep: false, ...more })).at(-1)!.png!;
  const pixels = async (more: object): Promise<Buffer> =>
    Buffer.from(decodePng(Buffer.from(await png(more), "base64"), "picture").data);
  const base = await pixels({ adapters: [] });
  expect((await pixels({ adapters: [{ id: "gray", weight: 0 }] })).equals(base)).toBe(true);
  const styled = await pixels({ adapters: [{ id: "gray", weight: 1.5 }] });
  expect(styled.equals(base)).toBe(false);
  expect((await pixels({ adapters: [], prompt: `${CAPTION} <lora:gray:1.5>` })).equals(styled)).toBe(true);
  expect(readdirSync(join(runs, "pictures"))).toHaveLength(2); // none of these was to be kept
});

test("what cannot be drawn is said", async () => {
  const message = async (more: object): Promise<string> =>
    (await ask({ ...BODY, adapters: [], ...more })).at(-1)!.message!;
  expect(await message({ adapters: [{ id: "other", weight: 1 }] })).toBe(
    "There is no adapter other. Found: foreign, gray.",
  );
  expect(await message({ adapters: [{ id: "foreign", weight: 1 }] })).toMatch(
    /text is 768 wide \(Stable Diffusion 1\); this one's is 96/,
  );
  expect(await message({ adapters: [{ id: "gray", weight: 2 }] })).toContain("expected number to be <=1.5");
  expect(await message({ prompt: "" })).toContain("prompt");
});

test("the page answers to its own address and token alone; names are text", async () => {
  const body = JSON.stringify({ ...BODY, adapters: [] });
  const json = { "content-type": "application/json" };
  const post = { method: "POST", body };
  expect((await status(ui.url, "/images/draw", { ...post, headers: json })).code).toBe(403);
  const foreign = { ...json, "x-lowrank-token": await tokenOf(ui.url), origin: "http://evil.example" };
  expect((await status(ui.url, "/images/draw", { ...post, headers: foreign })).code).toBe(403);
  expect((await status(ui.url, "/images", { headers: { host: "evil.example" } })).code).toBe(403);
  expect((await status(ui.url, `/images/files/${encodeURIComponent("../data/one.png")}`)).code).toBe(404);
  expect((await status(ui.url, "/images/files/0.png")).code).toBe(200);
  const list = (await status(ui.url, "/images/parts/adapters")).text;
  expect(list).not.toContain("<i>");
  expect(list).toContain("&#60;i&#62;all gray");
  expect(list).toContain("its text is 768 wide");
});

test("in Chromium: draws, moves a slider, cancels, and takes settings from the gallery", async ({ skip }) => {
  skip(CHROMIUM === undefined, "there is no /usr/bin/chromium, and CHROMIUM names none");
  const browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
  try {
    const page = await browser.newPage();
    const errors = errorsOf(page);
    await page.goto(ui.url);
    await page.getByRole("link", { name: "Images" }).click();
    await page.getByRole("heading", { level: 1, name: "diffusion-tiny" }).waitFor();
    const slider = page.getByRole("slider", { name: "gray" });
    await slider.waitFor();
    expect(await page.getByRole("slider", { name: "foreign" }).isDisabled()).toBe(true);

    // `exact`, for the negative prompt's label holds the other's name.
    const prompt = page.getByLabel("Prompt", { exact: true });
    await prompt.fill(CAPTION);
    await page.getByRole("button", { name: "<i>all gray" }).click();
    expect(await prompt.inputValue()).toBe(`${CAPTION}, <i>all gray`);
    await slider.fill("1.2");
    await page.getByLabel("Steps").fill("6");
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    await page.getByText("It is in the gallery.").waitFor();
    const picture = page.locator("#frame img");
    const first = await picture.getAttribute("src");
    await page.locator(".gallery li").filter({ hasText: "gray 1.2" }).waitFor();

    // A slider that moves draws again, and nothing is kept.
    const kept = await page.locator(".gallery li").count();
    await page.getByLabel("draw again as sliders move").check();
    await slider.fill("0.3");
    await page.getByText("Draw keeps it in the gallery.").waitFor();
    expect(await picture.getAttribute("src")).not.toBe(first);
    expect(await page.locator(".gallery li").count()).toBe(kept);

    // 200 steps are stopped on their way, and the next picture does not wait for them.
    await page.getByLabel("Steps").fill("200");
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    await page.getByText(/^Step \d+ of 200/).waitFor();
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByText("Cancelled.").waitFor();

    // Back to what the first picture was made with: the same picture.
    await page.locator(".gallery li").filter({ hasText: "gray 1.2" }).getByText("Use these settings").click();
    expect(await slider.inputValue()).toBe("1.2");
    expect(await page.getByLabel("Steps").inputValue()).toBe("6");
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    await page.getByText("It is in the gallery.").waitFor();
    expect(await picture.getAttribute("src")).toBe(first);
    expect(errors).toEqual([]);

    for (const width of [1280, 390]) {
      await page.setViewportSize({ width, height: 900 });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      expect(wide, `at ${width}`).toBeLessThanOrEqual(0);
    }
    const shots = process.env["LOWRANK_SHOTS"];
    if (shots && existsSync(shots)) {
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width: 1280, height: 900 });
        await page.screenshot({ path: `${shots}/ui-images-${colorScheme}.png`, fullPage: true });
      }
    }
  } finally {
    await browser.close();
  }
});
