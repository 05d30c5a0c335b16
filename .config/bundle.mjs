// Bundles the programs of scratchpad's folders into .cache/bundle, from the packages' sources: one second instead of the many
// that checking the types takes, and a process that loads three files starts in half the time of one that loads hundreds.
// `node .config/bundle.mjs demo` for what `npm run` starts; Vitest calls `setup` for the tests that start programs.
import { build } from "esbuild"
import { fileURLToPath } from "node:url"

const programs = {
  demo: ["main", "worker"],
  chaos: ["workerCrashEntry"],
  examples: ["payments", "paymentsSetup", "migration/worker", "worker/recovery", "worker/deadLetters", "worker/identity", "worker/everything"]
}

/** Effect is bundled with us. Everything else is found in node_modules when it is needed. */
const others = {
  name: "others",
  setup: ({ onResolve }) =>
    onResolve({ filter: /^[^./]/ }, ({ kind, path }) =>
      kind === "entry-point" || /^(effect|@effect|@safesync)(\/|$)/.test(path) ? undefined : { external: true })
}

const bundle = (folder) =>
  build({
    absWorkingDir: fileURLToPath(new URL("..", import.meta.url)),
    entryPoints: programs[folder].map((program) => `scratchpad/${folder}/${program}.ts`),
    outbase: `scratchpad/${folder}`,
    outdir: `.cache/bundle/${folder}`,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    sourcemap: true,
    plugins: [others],
    logLevel: "warning"
  })

export const setup = async ({ name }) => {
  if (name in programs) await bundle(name)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await Promise.all(process.argv.slice(2).map(bundle))
