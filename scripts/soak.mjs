/**
 * A server under random load: completions of many adapters, some held to schemas, loads, reloads and unloads, clients
 * that leave in the middle. A second server beside it is killed with SIGKILL every minute, under load, and started again:
 * it must answer as it did before. Prints the first server's memory every ten seconds and fails when it goes on growing,
 * when a request fails for no reason of its own, or when the server does not end cleanly.
 *
 *   node scripts/soak.mjs [minutes = 5] [model = embedded:gpt2-tiny]
 */

import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAdapter } from "../dist/adapters/adapter.js";
import { parseAdapterConfig } from "../dist/adapters/bind.js";
import { savePeftFolder } from "../dist/adapters/peft-folder.js";
import { locateModel } from "../dist/models/locate.js";
import { openModel, traceChecked } from "../dist/models/open.js";
import { randomStream } from "../dist/tensor/random.js";

const MINUTES = Number(process.argv[2] ?? 5);
const MODEL = process.argv[3] ?? "embedded:gpt2-tiny";
const CLIENTS = 12;
const ADAPTERS = 40;
/** Growth of the memory between the first and the last third of the time that is no leak, as a share. */
const GROWTH = 0.1;

const root = mkdtempSync(join(tmpdir(), "soak-"));
const random = randomStream(1);
const model = openModel(locateModel(MODEL));
const trace = traceChecked(model, "causal-lm");
for (let i = 0; i < ADAPTERS; i++) {
  const config = parseAdapterConfig({ peft_type: "LORA", r: 1 + (i % 8), use_dora: i % 10 === 9 }, "soak");
  const adapter = createAdapter(config, model, trace, i);
  for (const { data } of adapter.tensors.values())
    for (let k = 0; k < data.length; k++) data[k] += 0.02 * (random.uniform() - 0.5);
  savePeftFolder(join(root, `a${i}`), adapter);
}

async function start() {
  const server = spawn(
    process.execPath,
    [
      new URL("../dist/cli/main.js", import.meta.url).pathname,
      ...["serve", "--model", MODEL, "--port", "0", "--json", "--threads", "1", "--adapters-dir", root],
      ...["--allow-runtime-lora", "--adapter-bytes", "500000", "--prefix-bytes", "20000000", "--max-batch", "8"],
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const exited = new Promise((resolve) => server.once("exit", resolve));
  const url = await new Promise((resolve) => {
    server.stdout.once("data", (data) => resolve(JSON.parse(String(data).split("\n")[0]).url));
  });
  return { server, exited, url };
}
const { server, exited, url } = await start();

const counts = { answered: 0, left: 0, refused: 0, loads: 0, kills: 0, failed: 0 };
const post = (path, body, signal) =>
  fetch(url + path, { method: "POST", body: JSON.stringify(body), ...(signal ? { signal } : {}) });

/** More of them than the server keeps. */
const schema = (i) => ({
  type: "object",
  properties: { [`k${i}`]: { type: "string", maxLength: 4 + i }, n: { type: "integer" } },
});

async function complete() {
  const body = {
    model: random.uniform() < 0.2 ? model.name : `a${random.integer(ADAPTERS)}@${1 + random.integer(2)}`,
    prompt: "In the evening the ".repeat(1 + random.integer(6)),
    max_tokens: 1 + random.integer(40),
    temperature: 1,
    stream: random.uniform() < 0.5,
    ...(random.uniform() < 0.15 ? { guided_json: schema(random.integer(30)) } : {}),
  };
  const leaves = random.uniform() < 0.2;
  try {
    const response = await post("/v1/completions", body, leaves ? AbortSignal.timeout(random.integer(60)) : undefined);
    const text = await response.text();
    if (response.status === 200 && !text.includes('"error"')) counts.answered++;
    else if (response.status === 429) counts.refused++;
    else {
      counts.failed++;
      console.error(response.status, text.slice(0, 300));
    }
  } catch (error) {
    if (leaves) counts.left++;
    else {
      counts.failed++;
      console.error(error);
    }
  }
}

async function reload() {
  const name = `live${random.integer(3)}`;
  if (random.uniform() < 0.3) await post("/v1/unload_lora_adapter", { lora_name: name }).then((each) => each.text());
  else {
    const lora_path = join(root, `a${random.integer(ADAPTERS)}`);
    await post("/v1/load_lora_adapter", { lora_name: name, lora_path, load_inplace: true }).then((each) => each.text());
  }
  if (random.uniform() < 0.1) cpSync(join(root, "a1"), join(root, `a${20 + random.integer(5)}`), { recursive: true });
  counts.loads++;
}

/** Texts that a1 and a2 give, whole and greedy. */
async function told(from) {
  const texts = ["a1", "a2"].map(async (name) => {
    const body = { model: name, prompt: "In the evening the", max_tokens: 12, temperature: 0 };
    const response = await fetch(`${from}/v1/completions`, { method: "POST", body: JSON.stringify(body) });
    return (await response.json()).choices[0].text;
  });
  return JSON.stringify(await Promise.all(texts));
}

/** Kills the second server with requests under way, and starts it again. */
async function killing(until) {
  let victim = await start();
  const wanted = await told(victim.url);
  while (performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, Math.min(60_000, until - performance.now())));
    const under = Array.from({ length: 4 }, () => told(victim.url).catch(() => null));
    await new Promise((resolve) => setTimeout(resolve, random.integer(50)));
    victim.server.kill("SIGKILL");
    await Promise.all([victim.exited, ...under]);
    victim = await start();
    counts.kills++;
    if ((await told(victim.url)) !== wanted) {
      counts.failed++;
      console.error("after a kill the answers are others");
    }
  }
  victim.server.kill("SIGTERM");
  await victim.exited;
}

const residentBytes = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))[1]) * 1024;
const end = performance.now() + MINUTES * 60_000;
const samples = [];
const sampler = setInterval(() => {
  samples.push(residentBytes());
  console.log(
    JSON.stringify({ seconds: 10 * samples.length, residentMiB: Math.round(samples.at(-1) / 2 ** 20), ...counts }),
  );
}, 10_000);
await Promise.all([
  killing(end),
  ...Array.from({ length: CLIENTS }, async () => {
    while (performance.now() < end) await (random.uniform() < 0.1 ? reload() : complete());
  }),
]);
clearInterval(sampler);
const metrics = await (await fetch(`${url}/metrics`)).text();
const idle = /^vllm:num_requests_running 0$/m.test(metrics);
server.kill("SIGTERM");
const code = await exited;
rmSync(root, { recursive: true });
const third = Math.max(1, Math.floor(samples.length / 3));
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const growth = mean(samples.slice(-third)) / mean(samples.slice(third, 2 * third)) - 1;
const flat = growth < GROWTH;
const mebibytes = (from, to) => Math.round(mean(samples.slice(from, to)) / 2 ** 20);
const thirds = [mebibytes(0, third), mebibytes(third, 2 * third), mebibytes(-third)];
console.log(JSON.stringify({ ...counts, residentMiBInThirds: thirds, growth, flat, idle, exit: code }));
process.exitCode = flat && idle && code === 0 && counts.failed === 0 ? 0 : 1;
