import { assert, it } from "@effect/vitest"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"

import { dockerStandIn, pathOf } from "./path.js"

/** Without URLs, and with a cache folder in which nothing can be, so that Debian's packages fail at once. */
const nothingGiven = Effect.withConfigProvider(
  ConfigProvider.fromMap(new Map([["SAFESYNC_CACHE_DIR", "/dev/null/nowhere"]]))
)

const mysql = Effect.map(Layer.build(MysqlServer.layer), Context.get(MysqlServer.MysqlServer)).pipe(nothingGiven)
const redis = Effect.map(Layer.build(RedisServer.layer), Context.get(RedisServer.RedisServer)).pipe(nothingGiven)

/** What the stand-in for Docker, and a server's watchdog, call. */
const tools = ["sh", "node", "cat", "cut", "grep", "mkdir", "mv", "rm", "sleep", "touch"]

const ways = (attempts: ReadonlyArray<{ readonly way: string; readonly reason: string }>) =>
  attempts.map(({ reason, way }) => `${way}: ${reason}`)

it.scopedLive("all ways are tried in their order, and each says why it did not work", () =>
  Effect.gen(function*() {
    // Found there before a mysqld of the system's folders for daemons.
    yield* pathOf(["sh"], { mysqld: "echo '10.11.6-MariaDB for debian-linux-gnu'", "redis-server": "echo v=4.0.14" })
    assert.deepStrictEqual(ways((yield* Effect.flip(mysql)).attempts).slice(0, 3), [
      "SAFESYNC_MYSQL_URL: not set.",
      "mysqld on PATH: it is MariaDB (10.11.6-MariaDB for debian-linux-gnu), not MySQL.",
      "Docker: there is no docker command."
    ])
    const { attempts, message } = yield* Effect.flip(redis)
    assert.deepStrictEqual(ways(attempts).slice(0, 3), [
      "SAFESYNC_REDIS_URL: not set.",
      "redis-server on PATH: Redis v=4.0.14 is too old.",
      "Docker: there is no docker command."
    ])
    assert.match(
      attempts[3]!.reason,
      /^(the cache folder cannot be written \(.*\)|this system is not Debian itself \(its ID is .*\))\.$/
    )
    assert.include(message, "What was tried:\n- SAFESYNC_REDIS_URL: not set. Set it to redis://")
  }))

it.scopedLive("a Docker engine is taken where nothing is on PATH, and its container goes with the scope", () =>
  Effect.gen(function*() {
    yield* pathOf(tools)
    const state = yield* dockerStandIn
    const port = yield* Effect.scoped(Effect.gen(function*() {
      const server = yield* redis
      assert.deepStrictEqual([server.origin, server.version], ["docker", "8.0.0"])
      return new URL(Redacted.value(server.url)).port
    }))
    assert.notStrictEqual(port, "")
    assert.deepStrictEqual(readdirSync(state), ["pulled-image"])
  }))

it.scopedLive("a container of MySQL that does not start is told in Docker's words, and the next way is tried", () =>
  Effect.gen(function*() {
    yield* pathOf(tools)
    const state = yield* dockerStandIn
    writeFileSync(join(state, "no-memory"), "")
    const { attempts } = yield* Effect.flip(mysql)
    assert.deepStrictEqual(attempts.map(({ way }) => way), [
      "SAFESYNC_MYSQL_URL",
      "mysqld on PATH",
      "Docker",
      "Debian packages"
    ])
    assert.deepStrictEqual([attempts[2]!.reason, attempts[2]!.hint], [
      "the container could not be started.",
      "Error: out of memory"
    ])
    assert.deepStrictEqual(readdirSync(state).sort(), ["no-memory", "pulled-image"])
  }))
