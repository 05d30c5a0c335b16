// Builds one package, called in its folder: ESM with the project references' incremental build, which checks the types and
// writes the declarations; CJS beside it, file by file, with the same declarations.
// Each output folder says its own module type, so that the same `.js` and `.d.ts` names are right in both.
import { execFileSync } from "node:child_process"
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import ts from "typescript"

execFileSync("tsc", ["-b", "tsconfig.src.json"], { stdio: "inherit" })
rmSync("dist/cjs", { recursive: true, force: true })
for (const file of readdirSync("src", { recursive: true }).filter((file) => file.endsWith(".ts"))) {
  const name = file.slice(0, -3)
  const { outputText, sourceMapText } = ts.transpileModule(readFileSync(`src/${file}`, "utf8"), {
    fileName: file,
    compilerOptions: { target: "ES2022", module: ts.ModuleKind.CommonJS, esModuleInterop: true, sourceMap: true }
  })
  mkdirSync(dirname(`dist/cjs/${file}`), { recursive: true })
  writeFileSync(`dist/cjs/${name}.js`, outputText)
  const sources = [`${"../".repeat(file.split("/").length + 1)}src/${file}`]
  writeFileSync(`dist/cjs/${name}.js.map`, JSON.stringify({ ...JSON.parse(sourceMapText), sources }))
  for (const kind of ["d.ts", "d.ts.map"]) cpSync(`dist/esm/${name}.${kind}`, `dist/cjs/${name}.${kind}`)
}
writeFileSync("dist/esm/package.json", `${JSON.stringify({ type: "module", sideEffects: [] })}\n`)
writeFileSync("dist/cjs/package.json", `${JSON.stringify({ type: "commonjs", sideEffects: [] })}\n`)
