import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { spawn } from "node:child_process"
import { existsSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"

import { launch } from "../src/internal/engine.js"
import * as ProcessEngine from "../src/internal/processEngine.js"
import * as ServerFolder from "../src/internal/serverFolder.js"
import { environment, temporaryFolder } from "./path.js"
import { connects, eventually, isAlive, occupiedPort } from "./processes.js"

const listenOn = (
  port: number
) => [process.execPath, "-e", `require("node:net").createServer().listen(${port}, "127.0.0.1")`]

it.scopedLive("a port that somebody else was quicker to take is replaced by another one", () =>
  Effect.gen(function*() {
    const folder = yield* ServerFolder.make("test")
    const taken = yield* occupiedPort
    const asked: Array<number> = []
    const engine = ProcessEngine.make(folder, (port) => {
      asked.push(port)
      return listenOn(asked.length < 3 ? taken : port)
    })
    const { port } = yield* launch("Redis", engine, (port) =>
      asked.length < 3 ? Effect.fail({ reason: "" }) : connects(port))
    assert.strictEqual(asked.length, 3)
    assert.strictEqual(port, asked[2])
    yield* connects(port)
  }))

it.scopedLive("a server that ends while it starts is told with the end of its log", () =>
  Effect.gen(function*() {
    const folder = yield* ServerFolder.make("test")
    const engine = ProcessEngine.make(folder, () => ["/bin/sh", "-c", "echo 'no such luck' >&2; exit 3"])
    const error = yield* Effect.flip(launch("Redis", engine, connects))
    assert.strictEqual(error.reason, "it ended while it was starting.")
    assert.include(error.hint, "no such luck")
  }))

it.scopedLive("a server that does not answer in time is killed and told with the last reason and its log", () =>
  Effect.gen(function*() {
    const folder = yield* ServerFolder.make("test")
    const engine = ProcessEngine.make(folder, () => ["/bin/sh", "-c", "echo 'still thinking'; exec sleep 1000"])
    const error = yield* Effect.flip(launch("Redis", engine, connects, "300 millis"))
    assert.match(error.reason, /^it did not answer within 300ms \(.*ECONNREFUSED.*\)\.$/)
    assert.include(error.hint, "still thinking")
    yield* engine.ended
  }))

it.live("a start that is interrupted leaves neither process nor folder", () =>
  Effect.gen(function*() {
    let folder = ""
    let pid = 0
    const starting = Effect.scoped(Effect.gen(function*() {
      folder = yield* ServerFolder.make("test")
      const engine = ProcessEngine.make(folder, () => ["/bin/sleep", "1000"])
      yield* launch("Redis", engine, () =>
        Effect.zipRight(
          Effect.map(Effect.flatten(engine.pid), (running) => {
            pid = running
          }).pipe(Effect.orDie),
          Effect.never
        ))
    }))
    const fiber = yield* Effect.fork(starting)
    yield* Effect.repeat(Effect.yieldNow(), { until: () => pid !== 0 })
    assert.isTrue(isAlive(pid))
    assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
    assert.deepStrictEqual([isAlive(pid), existsSync(folder), existsSync(`${folder}.gone`)], [false, false, false])
  }))

it.scopedLive("a temporary folder that is not there is told in one line", () =>
  Effect.gen(function*() {
    yield* environment({ TMPDIR: "/nowhere/at/all" })
    const error = yield* Effect.flip(ServerFolder.make("test"))
    assert.match(error.message, /^its files cannot be written \(ENOENT.*\)\. Set TMPDIR to a folder/)
  }))

it.scopedLive("what a killed process and a killed watchdog left behind is cleared away by the next start", () =>
  Effect.gen(function*() {
    const parent = yield* temporaryFolder
    yield* environment({ TMPDIR: parent })
    const sleeper = (folder: string) =>
      Effect.acquireRelease(
        Effect.sync(() => spawn("/bin/sleep", ["1000"], { cwd: folder, stdio: "ignore" })),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
    const left = (name: string, owner: string) => {
      const folder = join(parent, `safesync-mysql-${name}`)
      mkdirSync(join(folder, "data"), { recursive: true })
      writeFileSync(join(folder, "owner"), owner)
      return folder
    }
    // Its owner's number is somebody else's by now: this process's, which has started at another time.
    const orphan = left("orphan", `${process.pid} 1`)
    const server = yield* sleeper(join(orphan, "data"))
    writeFileSync(join(orphan, "pid"), String(server.pid))
    // So is its server's number.
    const stale = left("stale1", "1234567 89")
    const innocent = yield* sleeper(parent)
    writeFileSync(join(stale, "pid"), String(innocent.pid))

    const mine = yield* ServerFolder.make("test")
    yield* eventually("the server is gone", () => !isAlive(server.pid!))
    yield* eventually(
      "the folders are gone",
      () => ![orphan, stale].some((folder) => existsSync(folder) || existsSync(`${folder}.gone`))
    )
    assert.isTrue(isAlive(innocent.pid!))
    const another = yield* ServerFolder.make("test")
    assert.deepStrictEqual([existsSync(mine), existsSync(another)], [true, true])
  }))
