// The pages of every public module, from its docstrings, into .cache/docs. That their examples compile is seen to by
// .config/examples.mjs: docgen would also run them, and they are about servers.
import { spawn } from "node:child_process"
import { once } from "node:events"
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"

const out = ".cache/docs"
const packages = readdirSync("packages").map((name) => [name, JSON.parse(readFileSync(`packages/${name}/package.json`, "utf8"))])
  .filter(([, { private: hidden }]) => hidden !== true)

rmSync(out, { recursive: true, force: true })
const generate = async (name) => {
  const docgen = spawn("docgen", { cwd: `packages/${name}`, env: { ...process.env, DOCGEN_RUN_EXAMPLES: "false" } })
  const told = []
  docgen.stdout.on("data", (chunk) => told.push(chunk))
  docgen.stderr.on("data", (chunk) => told.push(chunk))
  const [status] = await once(docgen, "close")
  if (status !== 0) throw new Error(`docgen in packages/${name}\n${Buffer.concat(told)}`)
}

const waiting = packages.map(([name]) => name)
const oneAfterAnother = async () => { for (let name; (name = waiting.shift()) !== undefined;) await generate(name) }
await Promise.all([oneAfterAnother(), oneAfterAnother()])

const pages = packages.map(([name, { description, name: pkg }]) => {
  const modules = readdirSync(`${out}/${name}/modules`).filter((file) => file.endsWith(".ts.md"))
  return `## ${pkg}\n\n${description}\n\n${
    modules.map((file) => `- [${file.slice(0, -6)}](${name}/modules/${file})`).join("\n")
  }\n`
})
writeFileSync(`${out}/README.md`, `# SafeSync for Effect\n\n${pages.join("\n")}`)
console.log(`${out}/README.md`)
