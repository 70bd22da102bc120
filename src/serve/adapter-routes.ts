/** Adapters that come and go: llama.cpp's scales, vLLM's loading and unloading. */

import type { Hono } from "hono";
import { isAdapterName } from "../generate/set-names.ts";
import { pathInside } from "./adapter-names.ts";
import { HttpError } from "./http-error.ts";
import { readRequest } from "./requests.ts";
import { jsonBody, type Served, scaled } from "./served.ts";

export function adapterRoutes(app: Hono, served: Served): void {
  const { registry, baseName, adaptersDir, runtimeAdapters } = served;
  app.get("/lora-adapters", (c) =>
    c.json(registry.list().map(({ name, path }, id) => ({ id, name, path, scale: served.scales.get(name) ?? 0 }))),
  );
  app.post("/lora-adapters", async (c) => {
    served.scales = new Map(scaled(registry, readRequest.adapterScales(await jsonBody(c))));
    return c.json({ success: true });
  });

  const demandRuntime = (): void => {
    if (runtimeAdapters) return;
    throw new HttpError(403, "Adapters cannot be loaded at run time here; start the server with --allow-runtime-lora.");
  };
  app.post("/v1/load_lora_adapter", async (c) => {
    demandRuntime();
    const { lora_name, lora_path, load_inplace } = readRequest.loadAdapter(await jsonBody(c));
    if (!isAdapterName(lora_name) || lora_name === baseName) {
      throw new HttpError(400, `lora_name: ${JSON.stringify(lora_name)} is no name for an adapter.`);
    }
    const path = adaptersDir === null ? lora_path : pathInside(adaptersDir, lora_path);
    if (path === null) throw new HttpError(404, `lora_path: there is no folder ${lora_path}.`);
    await registry.add(lora_name, path, load_inplace ?? false);
    return c.text(`Success: LoRA adapter '${lora_name}' added successfully.`);
  });
  app.post("/v1/unload_lora_adapter", async (c) => {
    demandRuntime();
    const { lora_name } = readRequest.unloadAdapter(await jsonBody(c));
    registry.remove(lora_name);
    served.scales = new Map([...served.scales].filter(([name]) => name !== lora_name));
    return c.text(`Success: LoRA adapter '${lora_name}' removed successfully.`);
  });
}
