// What a user would install, looked at by publint and by "are the types wrong", for every entry point of every package.
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"

const run = (cwd, command, ...args) => {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: "utf8" })
  if (status === 0) return
  console.error(`${cwd}: ${command} ${args.join(" ")}\n${stdout}${stderr}`)
  process.exit(1)
}

for (const name of readdirSync("packages")) {
  const cwd = `packages/${name}`
  if (JSON.parse(readFileSync(`${cwd}/package.json`, "utf8")).private === true) continue
  const modules = readdirSync(`${cwd}/src`)
    .filter((file) => file.endsWith(".ts") && file !== "index.ts")
    .map((file) => file.slice(0, -3))
  run(cwd, "publint", "--strict")
  run(cwd, "attw", "--pack", ".", "--profile", "node16", "--include-entrypoints", ...modules)
  console.log(`${cwd}: ${modules.length + 1} entry points are clean`)
}
