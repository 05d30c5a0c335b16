import { assert, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import { readdirSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"

import * as Binary from "../src/internal/binary.js"
import * as Debian from "../src/internal/debianPackages.js"
import * as FileLock from "../src/internal/fileLock.js"
import { environment, temporaryFolder } from "./path.js"
import { start } from "./processes.js"

const redis: Debian.DebianServer = {
  package: "redis-server",
  program: "usr/bin/redis-server",
  keep: ["usr/bin/redis-check-rdb"]
}

const inCache = (folder: string) =>
  Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["SAFESYNC_CACHE_DIR", folder]])))

const filesBelow = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? filesBelow(join(folder, entry.name)) : [join(folder, entry.name)]
  )

/** Elsewhere than on Debian there is one thing to see: that it says so. */
const onDebian = /^ID="?debian"?$/m.test(readFileSync("/etc/os-release", "utf8"))

it.live.skipIf(onDebian)("elsewhere than on Debian it says where it is, and what to do", () =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(Debian.install(redis))
    assert.match(error.reason, /^this system is not Debian itself \(its ID is \S+\)\.$/)
    assert.match(error.hint, /^Install the server with this system's own packages/)
  }))

it.scopedLive.skipIf(!onDebian)(
  "several at once install a server once; afterwards it takes no network",
  () =>
    Effect.gen(function*() {
      const cache = yield* temporaryFolder
      const install = inCache(cache)(Debian.install(redis))
      const [one, two] = yield* Effect.all([install, install], { concurrency: 2 })
      assert.deepStrictEqual(one, two)
      assert.match(yield* Binary.version(one.command), /^Redis server v=/)
      const root = `redis-server-${process.arch}`
      assert.deepStrictEqual(readdirSync(join(cache, "debian")).sort(), [root, `${root}.lock`])
      const setUid = filesBelow(join(cache, "debian", root)).filter((file) => {
        const stat = statSync(file, { throwIfNoEntry: false })
        return stat !== undefined && (stat.mode & 0o6000) !== 0
      })
      assert.deepStrictEqual(setUid, [])
      // Without apt on PATH.
      yield* environment({ PATH: "/nowhere" })
      assert.deepStrictEqual(yield* install, one)
    }),
  // What the mirror takes is not ours to say: `install` itself waits for up to ten minutes.
  300_000
)

it.scopedLive.skipIf(!onDebian)(
  "a package that does not exist is told in apt's words, and nothing is left in the cache",
  () =>
    Effect.gen(function*() {
      const cache = yield* temporaryFolder
      const nothing = { package: "no-such-package", program: "usr/bin/nothing", keep: [] }
      const error = yield* Effect.flip(inCache(cache)(Debian.install(nothing)))
      assert.strictEqual(error.reason, "apt-get failed (E: Unable to locate package no-such-package).")
      assert.deepStrictEqual(readdirSync(join(cache, "debian")), [`no-such-package-${process.arch}.lock`])
    })
)

it.scopedLive.skipIf(!onDebian)("a cache folder that cannot be written is told as such", () =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(inCache("/dev/null/nowhere")(Debian.install(redis)))
    assert.match(error.reason, /^the cache folder cannot be written/)
    assert.include(error.hint, "SAFESYNC_CACHE_DIR")
  }))

it.scopedLive("the lock excludes others, and goes with a holder that is killed with -9", () =>
  Effect.gen(function*() {
    const file = join(yield* temporaryFolder, "lock")
    const holder = yield* start("fixtures/holdLock.ts", [file])
    assert.strictEqual(yield* holder.firstLine, "held")
    const acquire = Effect.scoped(FileLock.acquire(file))
    assert.strictEqual((yield* Effect.timeoutOption(acquire, "300 millis"))._tag, "None")
    holder.child.kill("SIGKILL")
    yield* Effect.timeout(acquire, "5 seconds")
    yield* acquire
  }))
