import { readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs"
import { join } from "node:path"

// A folder outlives its watchdog when that is killed too, or the machine goes down: whoever makes the next one finds it.

/** The file of a server's folder that says whose it is. */
export const ownerFile = "owner"

/** A process, as no other will be: by its number and the time at which it started. Empty when there is none. */
export const ownerOf = (pid: number): string => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
    return `${pid} ${stat.slice(stat.lastIndexOf(")")).split(" ")[20]}`
  } catch {
    return ""
  }
}

/**
 * Folders of servers whose owner is gone, ready for a watchdog of their own, which is to find its owner gone at once. The note of
 * the server's pid is taken away where that process is no longer the server: its number may be anybody's by now.
 */
export const find = (parent: string): ReadonlyArray<string> =>
  readdirSync(parent)
    .filter((name) => /^safesync-(mysql|redis|redis-tls|prometheus|test)-\w{6}$/.test(name))
    .map((name) => join(parent, name))
    .filter((folder) => {
      try {
        const owner = readFileSync(join(folder, ownerFile), "latin1")
        if (owner === "" || ownerOf(Number.parseInt(owner)) === owner) return false
        if (!runsIn(folder)) rmSync(join(folder, "pid"), { force: true })
        return true
      } catch {
        // somebody else's, or one that is just being made or removed
        return false
      }
    })

const runsIn = (folder: string): boolean => {
  try {
    const pid = readFileSync(join(folder, "pid"), "latin1").trim()
    return readlinkSync(`/proc/${pid}/cwd`).startsWith(`${folder}/`)
  } catch {
    return false
  }
}
