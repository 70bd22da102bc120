/// <reference lib="dom" />
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { lowrank, shown, start } from "../cli/lowrank.ts";
import { rowsFile } from "../train/runs.ts";
import { CHROMIUM, errorsOf, type StartedUi, startPages, status, tokenOf } from "./browser.ts";

/** Two finished runs, and the page over them. */
let folder = "";
let url = "";
let ui: StartedUi;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-ui-"));
  const data = rowsFile(
    folder,
    ["Reads a file.", "Parses the options.", "Writes a value."].map((text) => ({ text })),
  );
  for (const [name, lr] of [
    ["slow", "1e-3"],
    ["<b>fast", "1e-2"],
  ] as const) {
    const settings = [
      "--model",
      "embedded:gpt2-tiny",
      "--data",
      data,
      "--max-steps",
      "4",
      "--lr",
      lr,
      "--threads",
      "1",
    ];
    const run = ["train", ...settings, "--eval-data", data, "--eval-steps", "2", "--out", join(folder, "runs", name)];
    const { code, stderr } = await lowrank(...run);
    expect(code, stderr).toBe(0);
  }
  ui = await startPages("--runs", join(folder, "runs"));
  url = ui.url;
});
afterAll(async () => {
  expect(await ui.stop()).toBe(0);
  rmSync(folder, { recursive: true, force: true });
});

test("the page answers to its own address and token alone", async () => {
  expect((await status(url, "/")).code).toBe(200);
  expect((await status(url, "/parts/runs", { headers: { host: "evil.example" } })).code).toBe(403);
  const body = JSON.stringify({ runs: [], prompt: "a", chat: false, maxTokens: 1, temperature: 0 });
  const json = { "content-type": "application/json" };
  expect((await status(url, "/chat", { method: "POST", headers: json, body })).code).toBe(403);
  const token = await tokenOf(url);
  const own = { ...json, "x-lowrank-token": token };
  const foreign = { ...own, origin: "http://evil.example" };
  expect((await status(url, "/chat", { method: "POST", headers: foreign, body })).code).toBe(403);
  expect(await status(url, "/chat", { method: "POST", headers: own, body })).toMatchObject({
    code: 200,
    text: expect.stringContaining("Choose a run"),
  });
  const outside = encodeURIComponent("../../etc");
  expect((await status(url, `/runs/${outside}/report.html`)).code).toBe(404);
  expect((await status(url, "/runs/slow/report.html")).text).toContain("Training report");
  // What runs are called is text, never markup.
  const list = (await status(url, "/parts/runs")).text;
  expect(list).not.toContain("<b>");
  expect(list).toContain("&#60;b&#62;fast");
});

test("in Chromium: lists runs, draws one as it grows, compares two, and chats with base and adapters", async ({
  skip,
}) => {
  skip(CHROMIUM === undefined, "there is no /usr/bin/chromium, and CHROMIUM names none");
  const browser: Browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
  const runs = join(folder, "runs");
  try {
    const page = await browser.newPage();
    const errors = errorsOf(page);
    await page.goto(url);
    await page.getByRole("checkbox", { name: "slow" }).check();
    await page.getByRole("heading", { level: 1, name: "slow" }).waitFor();
    expect(await page.locator("#view svg.chart").count()).toBeGreaterThan(2);

    // A run that is still going: its steps arrive by themselves.
    cpSync(join(runs, "slow"), join(runs, "copy"), { recursive: true, filter: (path) => !path.endsWith(".html") });
    await page.getByText("copy").waitFor();
    const data = join(runs, "..", "rows.jsonl");
    const live = start([
      "train",
      "--model",
      "embedded:gpt2-tiny",
      "--data",
      data,
      "--max-steps",
      "400",
      "--out",
      join(runs, "live"),
      "--json",
    ]);
    await shown(live, '"step":3,');
    await page.getByText("running").waitFor();
    const before = await page.locator("li", { hasText: "live" }).textContent();
    await page.waitForFunction(
      (text) => ![...document.querySelectorAll("li")].some((li) => li.textContent === text),
      before,
    );
    live.process.kill("SIGINT");
    await live.finished;
    await page.getByText("interrupted").waitFor();

    await page.getByRole("checkbox", { name: "<b>fast" }).check();
    await page.getByRole("heading", { level: 1, name: "2 runs" }).waitFor();
    expect(await page.locator("#view table tbody tr").count()).toBe(2);

    await page.getByLabel("Prompt").fill("Reads a");
    await page.getByLabel("Tokens").fill("5");
    await page.getByRole("button", { name: "Answer" }).click();
    await page.getByText("Answered.").waitFor();
    expect(await page.locator("#answers h4").allInnerTexts()).toEqual(
      expect.arrayContaining(["base", "slow", "<b>fast"]),
    );
    const answers = await page.locator("#answers p").allInnerTexts();
    expect(answers.every((text) => text.length > 0)).toBe(true);
    expect(errors).toEqual([]);

    // Nothing wider than the screen, on a desk or a phone.
    for (const width of [1280, 390]) {
      await page.setViewportSize({ width, height: 900 });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      expect(wide, `at ${width}`).toBeLessThanOrEqual(0);
    }
    const shots = process.env["LOWRANK_SHOTS"];
    if (shots) {
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width: 1280, height: 900 });
        await page.screenshot({ path: `${shots}/ui-${colorScheme}.png`, fullPage: true });
      }
    }
  } finally {
    await browser.close();
  }
});
