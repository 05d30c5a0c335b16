import { assert, layer } from "@effect/vitest"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import { once } from "node:events"
import * as Net from "node:net"

import { eventually, isAlive, start } from "./processes.js"

/** By default without URLs, whatever the environment of the tests is. */
const withServers = (command: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  start("../src/bin/withServers.ts", command, { SAFESYNC_MYSQL_URL: "", SAFESYNC_REDIS_URL: "", ...env })

/** A command that tells its pid and the servers' ports, and waits for a signal. */
const waiting = [
  process.execPath,
  "-e",
  `for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit(signal === "SIGTERM" ? 15 : 2))
   const port = (name) => Number(new URL(process.env[name]).port)
   console.log(JSON.stringify({ pid: process.pid, ports: [port("SAFESYNC_MYSQL_URL"), port("SAFESYNC_REDIS_URL")] }))
   setInterval(() => {}, 1 << 30)`
]

interface Waiting {
  readonly pid: number
  readonly ports: ReadonlyArray<number>
}

const listens = (port: number): Effect.Effect<boolean> =>
  Effect.async((resume) => {
    const socket = Net.connect(port, "127.0.0.1")
    socket.once("connect", () => resume(Effect.succeed(true))).once("error", () => resume(Effect.succeed(false)))
    return Effect.sync(() => socket.destroy())
  })

const nobodyListens = (ports: ReadonlyArray<number>) =>
  Effect.forEach(ports, listens).pipe(
    Effect.repeat({ until: (yes) => !yes.includes(true), schedule: Schedule.spaced("20 millis") }),
    Effect.timeout("15 seconds")
  )

const given = Effect.gen(function*() {
  return {
    SAFESYNC_MYSQL_URL: Redacted.value((yield* MysqlServer.MysqlServer).url),
    SAFESYNC_REDIS_URL: Redacted.value((yield* RedisServer.RedisServer).url)
  }
})

layer(Layer.mergeAll(MysqlServer.layer, RedisServer.layer), { excludeTestServices: true, timeout: "3 minutes" })(
  "withServers",
  (it) => {
    it.scoped("a command that ends gives its exit code, and servers of its own are gone by then", () =>
      Effect.gen(function*() {
        const run = yield* withServers(waiting)
        const { pid, ports } = JSON.parse(yield* run.firstLine) as Waiting
        assert.deepStrictEqual(yield* Effect.forEach(ports, listens), [true, true])
        process.kill(pid, "SIGTERM")
        const { code, stderr } = yield* run.ended
        assert.strictEqual(code, 15)
        assert.match(stderr, /^MySQL \S+ at 127\.0\.0\.1:\d+, started \w+ .*\(\d+\.\d s\)$/m)
        assert.match(stderr, /^Redis \S+ at 127\.0\.0\.1:\d+, started \w+ .*\(\d+\.\d s\)$/m)
        assert.deepStrictEqual(yield* Effect.forEach(ports, listens), [false, false])
      }))

    it.scoped("when it is killed with -9, the command and servers of its own go too", () =>
      Effect.gen(function*() {
        const run = yield* withServers(waiting)
        const { pid, ports } = JSON.parse(yield* run.firstLine) as Waiting
        run.child.kill("SIGKILL")
        yield* eventually("the command is gone", () => !isAlive(pid))
        yield* nobodyListens(ports)
      }))

    it.scoped("servers that are given by URL are used as they are, and stay", () =>
      Effect.gen(function*() {
        const env = yield* given
        const run = yield* withServers(waiting, env)
        const { pid, ports } = JSON.parse(yield* run.firstLine) as Waiting
        assert.deepStrictEqual(ports, Object.values(env).map((url) => Number(new URL(url).port)))
        process.kill(pid, "SIGINT")
        const { code, stderr } = yield* run.ended
        assert.strictEqual(code, 2)
        assert.strictEqual(stderr.match(/, given by URL \(/g)?.length, 2)
        assert.deepStrictEqual(yield* Effect.forEach(ports, listens), [true, true])
      }))

    it.scoped.each([["SIGTERM", 15], ["SIGINT", 2]] as const)(
      "%s goes to the command",
      ([signal, code]) =>
        Effect.gen(function*() {
          const run = yield* withServers(waiting, yield* given)
          const { pid } = JSON.parse(yield* run.firstLine) as Waiting
          run.child.kill(signal)
          assert.strictEqual((yield* run.ended).code, code)
          assert.isFalse(isAlive(pid))
        })
    )

    it.scoped("a signal before the command has begun ends it at once", () =>
      Effect.gen(function*() {
        // lets everybody connect and says nothing
        const silent = Net.createServer()
        yield* Effect.addFinalizer(() => Effect.sync(() => silent.close()))
        yield* Effect.promise(() => once(silent.listen(0, "127.0.0.1"), "listening"))
        const url = `mysql://root@127.0.0.1:${(silent.address() as Net.AddressInfo).port}`
        const run = yield* withServers(["true"], { ...(yield* given), SAFESYNC_MYSQL_URL: url })
        yield* Effect.promise(() => once(silent, "connection"))
        run.child.kill("SIGINT")
        assert.strictEqual((yield* Effect.timeout(run.ended, "10 seconds")).code, 130)
      }))

    it.scoped("a command that is ended by a signal is told as a shell would", () =>
      Effect.gen(function*() {
        const run = yield* withServers(["/bin/sh", "-c", "kill -9 $$"], yield* given)
        assert.strictEqual((yield* run.ended).code, 137)
      }))

    it.scoped.each(
      [
        [["no-such-command"], {}, /^The command "no-such-command" cannot be run: .*ENOENT$/m],
        [[], {}, /^Usage: with-servers COMMAND/],
        [["--help"], {}, /^Usage: with-servers COMMAND/],
        [
          ["true"],
          { SAFESYNC_MYSQL_URL: "mysql://root:s3cret@127.0.0.1:1" },
          /^MySQL is not available\. .*127\.0\.0\.1:1\. .*$/m
        ],
        [["true"], { SAFESYNC_REDIS_URL: "what is it" }, /^Redis is not available\. .*this is not a URL\. .*$/m]
      ] as const
    )("what is wrong is said in one line: %j %j", ([command, env, line]) =>
      Effect.gen(function*() {
        const run = yield* withServers(command, { ...(yield* given), ...env })
        const { code, stderr } = yield* run.ended
        assert.strictEqual(code, 1)
        assert.match(stderr, line)
        assert.notMatch(stderr, /^\s+at |s3cret/m)
      }))
  }
)
