// Writes each package's src/index.ts from its modules, each export under the module's own opening comment, and the code
// blocks of READMEs and of the migration guide that follow a comment with a file's path, from that file, which the compiler checks.
// Between <!-- floors --> and <!-- /floors --> comes the table of floors.mjs.
// With --check it writes nothing and fails when a file is not what it would write.
// @effect/build-utils does the same for packages that are published from their dist folder, which these are not.
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { table } from "./floors.mjs"

const check = process.argv.includes("--check")
const read = (file) => { try { return readFileSync(file, "utf8") } catch { return "" } }
const stale = []
/** A private package has no users: no entry points of its own, and nobody who installs it. */
const isPublic = (name) => JSON.parse(readFileSync(`packages/${name}/package.json`, "utf8")).private !== true
const write = (file, content) => {
  if (read(file) === content) return
  stale.push(file)
  if (!check) writeFileSync(file, content)
}

for (const name of readdirSync("packages").filter(isPublic)) {
  const src = `packages/${name}/src`
  const modules = readdirSync(src).filter((file) => file.endsWith(".ts") && file !== "index.ts").sort()
  if (modules.length === 0) continue
  const content = modules.map((file) => {
    const comment = /^\/\*\*\n.+?\*\//s.exec(read(`${src}/${file}`))?.[0]
    if (comment === undefined) throw new Error(`${src}/${file} does not open with a docstring`)
    const module = file.slice(0, -3)
    return `${comment}\nexport * as ${module} from "./${module}.js"\n`
  }).join("\n")
  write(`${src}/index.ts`, content)
}

const folders = [".", ...readdirSync("packages").map((name) => `packages/${name}`)]
for (const [folder, guide] of folders.flatMap((folder) => [[folder, "README.md"], [folder, "MIGRATING.md"]])) {
  const block = /(<!-- (\S+\.ts) -->\n```ts\n)[^]*?(```)/g
  const readme = read(`${folder}/${guide}`)
  write(
    `${folder}/${guide}`,
    readme
      .replace(block, (_, open, file, close) => `${open}${readFileSync(`${folder}/${file}`, "utf8").trimEnd()}\n${close}`)
      .replace(/(<!-- floors -->\n)[^]*?(<!-- \/floors -->)/, (_, open, close) => `${open}${table()}\n${close}`)
  )
}

if (check && stale.length > 0) {
  console.error(`Stale, run npm run codegen: ${stale.join(", ")}`)
  process.exit(1)
}
