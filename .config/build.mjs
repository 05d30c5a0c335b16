// Builds one package, called in its folder: ESM with the project references' incremental build, CJS beside it.
// Each output folder says its own module type, so that the same `.js` and `.d.ts` names are right in both.
import { execFileSync } from "node:child_process"
import { rmSync, writeFileSync } from "node:fs"

const tsc = (...args) => execFileSync("tsc", args, { stdio: "inherit" })
tsc("-b", "tsconfig.src.json")
rmSync("dist/cjs", { recursive: true, force: true })
tsc("-p", "tsconfig.cjs.json")
writeFileSync("dist/esm/package.json", `${JSON.stringify({ type: "module", sideEffects: [] })}\n`)
writeFileSync("dist/cjs/package.json", `${JSON.stringify({ type: "commonjs", sideEffects: [] })}\n`)
