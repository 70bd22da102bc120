import { defineConfig, type ViteUserConfig } from "vitest/config";

const config: ViteUserConfig = defineConfig({
  test: {
    include: ["test/**/*.peers.ts"],
    testTimeout: 120_000,
    fileParallelism: false,
    reporters: ["default", "./test/support/reporter.ts"],
  },
});

export default config;
