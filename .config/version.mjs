// `npm run version-packages`: what the changesets say becomes versions and changelogs. All packages have one version, and those that
// are peers of each other ask for that one. Changesets takes a peer that leaves its range for a breaking change and would go from
// 0.1 to 1.0; so for its run the ranges are wide.
import { execFileSync } from "node:child_process"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"

const files = readdirSync("packages").map((name) => `packages/${name}/package.json`)
const rewrite = (range) => {
  for (const file of files) {
    const manifest = JSON.parse(readFileSync(file, "utf8"))
    for (const name of Object.keys(manifest.peerDependencies ?? {})) {
      if (name.startsWith("@safesync/")) manifest.peerDependencies[name] = range(manifest)
    }
    writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`)
  }
}

rewrite(() => "*")
execFileSync("changeset", ["version"], { stdio: "inherit" })
rewrite(({ version }) => `^${version}`)
execFileSync("npm", ["install", "--package-lock-only"], { stdio: "inherit" })
