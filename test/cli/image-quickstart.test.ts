import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openPipeline } from "../../src/diffusion/pipeline.ts";
import { readImageLora } from "../../src/diffusion/read-lora.ts";
import { locateModel } from "../../src/models/locate.ts";
import { inScratch, lowrank, readJson } from "./lowrank.ts";

interface Measures {
  readonly name: string;
  readonly path: string;
  readonly evalLossBefore: number;
  readonly evalLossAfter: number;
  readonly scoreBase: number;
  readonly scoreStyled: number;
  readonly priorDrift: number;
  readonly mergeMaxAbsDiff: number;
}

test(
  "the image quickstart's claims hold after a few steps already",
  () =>
    inScratch(async (folder) => {
      const out = join(folder, "quickstart");
      const few = ["--steps", "12", "--draw-steps", "3", "--threads", "1"];
      const { code, stderr } = await lowrank("image", "quickstart", "--out", out, ...few);
      expect(code, stderr).toBe(0);
      const { adapters, weightZeroEqualsBase } = readJson(join(out, "report.json")) as unknown as {
        readonly adapters: readonly Measures[];
        readonly weightZeroEqualsBase: boolean;
      };
      expect(weightZeroEqualsBase).toBe(true);
      expect(adapters.map(({ name }) => name)).toEqual(["ink", "night"]);
      const pipeline = openPipeline(locateModel("embedded:diffusion-tiny"));
      for (const each of adapters) {
        expect(each.evalLossAfter, each.name).toBeLessThan(0.95 * each.evalLossBefore);
        expect(each.scoreStyled, each.name).toBeGreaterThan(each.scoreBase);
        expect(each.priorDrift, each.name).toBeGreaterThan(0);
        expect(each.mergeMaxAbsDiff, each.name).toBeLessThan(1e-4);
        expect(readImageLora(each.path, pipeline).unmatched, each.name).toEqual([]);
        expect(openPipeline(join(out, `${each.name}-merged`)).unet.trace.parameters).toBe(
          pipeline.unet.trace.parameters,
        );
      }
      // Base, two styles, both; two sweeps of five weights: each over six prompts.
      const page = readFileSync(join(out, "report.html"), "utf8");
      expect(page.match(/<img /g)).toHaveLength(4 * 6 + 2 * 5 * 6);
    }),
  240_000,
);
