/**
 * Counters in Prometheus' text format: vLLM's names where routers read them (Gateway API inference extension), LoRAX's
 * for requests. Labels hold names of registered adapters only, so that clients cannot make them up.
 */

export interface RequestTimes {
  /** Seconds until the first token, and in all; null for a request without one. */
  readonly first: number | null;
  readonly whole: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export interface Gauges {
  readonly running: number;
  readonly waiting: number;
  readonly cacheBytes: number;
  readonly prefixHits: number;
  /** Adapters of requests at work, and of those that wait. */
  readonly runningAdapters: readonly string[];
  readonly waitingAdapters: readonly string[];
  readonly maxAdapters: number;
  readonly loadedAdapters: number;
  readonly loadedBytes: number;
}

export interface Metrics {
  succeeded(times: RequestTimes): void;
  /** `reason` is one of a few fixed words. */
  failed(reason: string): void;
  render(gauges: Gauges): string;
}

const SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];
const TOKENS = [1, 8, 32, 128, 512, 2048, 8192, 32768];

export function createMetrics(): Metrics {
  const failures = new Map<string, number>();
  const first = histogram(SECONDS);
  const whole = histogram(SECONDS);
  const perToken = histogram(SECONDS);
  const generated = histogram(TOKENS);
  const input = histogram(TOKENS);
  let success = 0;
  return {
    succeeded({ first: firstSeconds, whole: seconds, promptTokens, completionTokens }) {
      success++;
      if (firstSeconds !== null) first.observe(firstSeconds);
      whole.observe(seconds);
      if (completionTokens > 0) perToken.observe(seconds / completionTokens);
      generated.observe(completionTokens);
      input.observe(promptTokens);
    },
    failed(reason) {
      failures.set(reason, (failures.get(reason) ?? 0) + 1);
    },
    render(gauges) {
      const failed = [...failures.values()].reduce((a, b) => a + b, 0);
      const now = Date.now() / 1000;
      const lora = `vllm:lora_requests_info{max_lora="${gauges.maxAdapters}",running_lora_adapters="${gauges.runningAdapters.join(",")}",waiting_lora_adapters="${gauges.waitingAdapters.join(",")}"} ${now}`;
      return [
        ...simple("lorax_request_count", "counter", "Requests", success + failed),
        ...simple("lorax_request_success", "counter", "Requests answered", success),
        "# HELP lorax_request_failure Requests that failed, by reason",
        "# TYPE lorax_request_failure counter",
        ...[...failures].map(([reason, count]) => `lorax_request_failure{err="${reason}"} ${count}`),
        ...whole.lines("lorax_request_duration", "Seconds of a request"),
        ...perToken.lines("lorax_request_mean_time_per_token_duration", "Seconds a token"),
        ...generated.lines("lorax_request_generated_tokens", "Tokens of a completion"),
        ...input.lines("lorax_request_input_length", "Tokens of a prompt"),
        ...simple("lorax_queue_length", "gauge", "Requests that wait", gauges.waiting),
        ...simple("lorax_batch_current_size", "gauge", "Completions computed together", gauges.running),
        ...first.lines("vllm:time_to_first_token_seconds", "Seconds until the first token"),
        ...simple("vllm:num_requests_running", "gauge", "Requests at work", gauges.running),
        ...simple("vllm:num_requests_waiting", "gauge", "Requests that wait", gauges.waiting),
        "# HELP vllm:lora_requests_info Adapters of requests at work and waiting; the value is the time",
        "# TYPE vllm:lora_requests_info gauge",
        lora,
        ...simple("lowrank_cache_bytes", "gauge", "Bytes of keys and values", gauges.cacheBytes),
        ...simple("lowrank_prefix_hits", "counter", "Prompts whose beginning was cached", gauges.prefixHits),
        ...simple("lowrank_adapters_loaded", "gauge", "Adapters in memory", gauges.loadedAdapters),
        ...simple("lowrank_adapters_bytes", "gauge", "Bytes of adapters in memory", gauges.loadedBytes),
        "",
      ].join("\n");
    },
  };
}

function simple(name: string, type: "counter" | "gauge", help: string, value: number): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, `${name} ${value}`];
}

interface Histogram {
  observe(value: number): void;
  lines(name: string, help: string): string[];
}

function histogram(bounds: readonly number[]): Histogram {
  const counts = bounds.map(() => 0);
  let count = 0;
  let sum = 0;
  return {
    observe(value) {
      count++;
      sum += value;
      bounds.forEach((bound, i) => {
        if (value <= bound) counts[i]!++;
      });
    },
    lines: (name, help) => [
      `# HELP ${name} ${help}`,
      `# TYPE ${name} histogram`,
      ...bounds.map((bound, i) => `${name}_bucket{le="${bound}"} ${counts[i]}`),
      `${name}_bucket{le="+Inf"} ${count}`,
      `${name}_sum ${sum}`,
      `${name}_count ${count}`,
    ],
  };
}
