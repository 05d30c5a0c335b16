// What a user would install, looked at by publint and by "are the types wrong", for every entry point of every package: two
// packages at a time.
import { execFile } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"

const run = (cwd, command, ...args) =>
  new Promise((resolve) =>
    execFile(command, args, { cwd, encoding: "utf8", maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      if (error === null) return resolve()
      console.error(`${cwd}: ${command} ${args.join(" ")}\n${stdout}${stderr}`)
      process.exit(1)
    })
  )

const check = async (name) => {
  const cwd = `packages/${name}`
  const modules = readdirSync(`${cwd}/src`)
    .filter((file) => file.endsWith(".ts") && file !== "index.ts")
    .map((file) => file.slice(0, -3))
  // npm packs both, wherever they are there.
  for (const file of ["LICENSE", "README.md"]) if (!existsSync(`${cwd}/${file}`)) throw new Error(`${cwd} has no ${file}`)
  if (readFileSync(`${cwd}/LICENSE`, "utf8") !== readFileSync("LICENSE", "utf8")) throw new Error(`${cwd}/LICENSE is another one`)
  await run(cwd, "publint", "--strict")
  await run(cwd, "attw", "--pack", ".", "--profile", "node16", "--include-entrypoints", ...modules)
  console.log(`${cwd}: ${modules.length + 1} entry points are clean`)
}

const isPublic = (name) => JSON.parse(readFileSync(`packages/${name}/package.json`, "utf8")).private !== true
const names = readdirSync("packages").filter(isPublic)
const lane = async () => {
  for (let name; (name = names.shift()) !== undefined;) await check(name)
}
await Promise.all([lane(), lane()])
