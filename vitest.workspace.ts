import { fileURLToPath } from "node:url"
import { defineWorkspace } from "vitest/config"

const source = (name: string) => fileURLToPath(new URL(`./packages/${name}/src`, import.meta.url))

const bundle = fileURLToPath(new URL("./.config/bundle.mjs", import.meta.url))

export default defineWorkspace(
  [
    "packages/mysql",
    "packages/redis-streams",
    "packages/worker",
    "packages/opentelemetry",
    "packages/testkit",
    "packages/benchmarks",
    "scratchpad/demo",
    "scratchpad/chaos",
    "scratchpad/examples",
    "scratchpad/packaging"
  ].map((folder) => ({
    test: {
      name: folder.split("/")[1]!,
      root: fileURLToPath(new URL(`./${folder}`, import.meta.url)),
      include: ["test/**/*.test.ts"],
      globalSetup: folder.startsWith("scratchpad/") ? [bundle] : [],
      testTimeout: 60_000,
      hookTimeout: 180_000,
      pool: "forks",
      // Files that follow each other in one process share its modules: importing them anew took an eighth of the run.
      poolOptions: { forks: { isolate: false } }
    },
    resolve: {
      alias: ["mysql", "redis-streams", "worker", "opentelemetry", "testkit"].flatMap((pkg) => [
        { find: new RegExp(`^@safesync/${pkg}$`), replacement: `${source(pkg)}/index.ts` },
        { find: new RegExp(`^@safesync/${pkg}/(.*)$`), replacement: `${source(pkg)}/$1.ts` }
      ])
    }
  }))
)
