// Every static check. The linter reads sources alone, so it runs beside the others, which build upon each other.
import { spawn } from "node:child_process"

const run = (script) =>
  new Promise((resolve, reject) => {
    const begin = performance.now()
    const child = spawn("npm", ["run", "--silent", script], { stdio: ["ignore", "pipe", "pipe"] })
    let output = ""
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => output += text)
    child.once("close", (code) => {
      const took = ((performance.now() - begin) / 1000).toFixed(1)
      console.log(`${code === 0 ? "✓" : "✗"} ${script} (${took} s)\n${output.trimEnd()}`.trimEnd())
      if (code === 0) resolve()
      else reject(new Error(`npm run ${script} failed.`))
    })
  })

const inOrder = async (...scripts) => {
  for (const script of scripts) await run(script)
}

const results = await Promise.allSettled([
  inOrder("codegen:check", "lint"),
  inOrder("types", "types:examples", "types:test", "build", "check:packages")
])
for (const { reason } of results.filter(({ status }) => status === "rejected")) {
  console.error(reason.message)
  process.exitCode = 1
}
