// Every `@example` of every docstring becomes a file under .cache/examples, for the compiler to look at, under the name of its
// module. On the way each docstring of an export is asked for a sentence: tags alone tell a reader nothing.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"

const out = ".cache/examples"
const packages = readdirSync("packages").filter((name) =>
  JSON.parse(readFileSync(`packages/${name}/package.json`, "utf8")).private !== true
)
/** A docstring, and whether an export follows it. */
const docstring = /^\/\*\*\n(.*?)^ \*\/\n(export )?/gms
/** From the tag to the next one, or to the end. */
const example = /^@example\n(.*?)(?=^@(?:since|category|see|internal|deprecated|example)\b|(?![^]))/gms

const silent = []
const files = new Map()
for (const name of packages) {
  for (const file of readdirSync(`packages/${name}/src`, { recursive: true }).filter((file) => file.endsWith(".ts"))) {
    const path = `packages/${name}/src/${file}`
    const source = readFileSync(path, "utf8")
    for (const { 0: whole, 1: comment, 2: isExport, index } of source.matchAll(docstring)) {
      const text = comment.replace(/^ \* ?/gm, "")
      if (isExport !== undefined && !file.startsWith("internal/") && text.trimStart().startsWith("@")) {
        silent.push(`${path}: ${source.slice(index + whole.length - isExport.length).split("\n")[0]}`)
      }
      for (const [, code] of text.matchAll(example)) {
        const module = `${name}-${file.slice(0, -3).replaceAll("/", "-")}`
        const n = [...files.keys()].filter((key) => key.startsWith(`${module}-`)).length + 1
        files.set(`${module}-${n}.ts`, `${code.replace(/^```(?:ts)?$/gm, "").trim()}\n`)
      }
    }
  }
}

mkdirSync(out, { recursive: true })
/** What has not changed is left alone, and is not looked at again. */
const write = (file, content) => {
  let before
  try { before = readFileSync(`${out}/${file}`, "utf8") } catch { /* a new one */ }
  if (before !== content) writeFileSync(`${out}/${file}`, content)
}
for (const file of readdirSync(out)) if (file.endsWith(".ts") && !files.has(file)) rmSync(`${out}/${file}`)
for (const [file, content] of files) write(file, content)
write("tsconfig.json", `${JSON.stringify({
  extends: "../../tsconfig.json",
  include: ["*.ts"],
  references: packages.map((name) => ({ path: `../../packages/${name}/tsconfig.src.json` })),
  compilerOptions: {
    noUnusedLocals: false, // an example names what it shows
    rootDir: ".",
    outDir: "../tsc/examples",
    tsBuildInfoFile: "../tsc/examples.tsbuildinfo"
  }
}, null, 2)}\n`)

if (silent.length > 0) {
  console.error(`Exports whose docstring has tags and no sentence:\n${silent.join("\n")}`)
  process.exit(1)
}
