import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { assert, it } from "@effect/vitest"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import type { ServerControl } from "@safesync/testkit/ServerControl"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { existsSync, readlinkSync } from "node:fs"

import * as MysqlConnection from "../src/internal/mysqlConnection.js"
import * as RedisConnection from "../src/internal/redisConnection.js"
import { eventually, isAlive, isStopped, occupiedPort, start } from "./processes.js"

const ask = (url: Redacted.Redacted<string>, sql: string) =>
  Effect.scoped(Effect.flatMap(MysqlConnection.connect(url), (connection) => MysqlConnection.query(connection, sql)))

const call = (url: Redacted.Redacted<string>, command: string, ...args: ReadonlyArray<string>) =>
  Effect.scoped(Effect.flatMap(RedisConnection.connect(url), (redis) => RedisConnection.call(redis, command, ...args)))

/** What holds for either server. `write` and `read` go through a fresh connection each. */
const obeys = (
  control: ServerControl,
  write: Effect.Effect<unknown, unknown>,
  read: Effect.Effect<unknown, unknown>
) =>
  Effect.gen(function*() {
    const pid = Effect.flatten(control.pid)
    yield* write
    const before = yield* read
    const first = yield* pid

    yield* control.kill
    yield* control.kill
    assert.isFalse(isAlive(first))
    assert.isTrue(Option.isNone(yield* control.pid))
    assert.isTrue(Exit.isFailure(yield* Effect.exit(read)))

    yield* control.start
    yield* control.start
    const second = yield* pid
    assert.notStrictEqual(second, first)
    assert.deepStrictEqual(yield* read, before)

    yield* control.pause
    yield* eventually("it stands still", () => isStopped(second))
    const asked = yield* Effect.fork(read)
    yield* Effect.yieldNow()
    assert.isTrue(Option.isNone(yield* Fiber.poll(asked)))
    yield* control.resume
    assert.deepStrictEqual(yield* Fiber.join(asked), before)

    yield* control.pause
    yield* control.stop
    assert.isFalse(isAlive(second))
    yield* control.start
    assert.deepStrictEqual(yield* read, before)
    return yield* pid
  })

const folderOf = (pid: number): string => readlinkSync(`/proc/${pid}/cwd`).replace(/\/data$/, "")

/** When the scope closes, neither the server nor its folder is left. */
const goesWith = (scope: Scope.CloseableScope, pid: number) =>
  Effect.gen(function*() {
    const folder = folderOf(pid)
    assert.isTrue(existsSync(folder))
    yield* Scope.close(scope, Exit.void)
    assert.isFalse(isAlive(pid))
    assert.isFalse(existsSync(folder))
    assert.isFalse(existsSync(`${folder}.gone`))
  })

it.live("a MySQL of its own can be killed, started, paused and stopped, keeps its data, and goes with its scope", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const server = yield* Effect.provide(
      MysqlServer.MysqlServer,
      yield* Layer.buildWithScope(MysqlServer.layerOwn(), scope)
    )
    assert.notStrictEqual(server.origin, "url")
    const pid = yield* obeys(
      Option.getOrThrow(server.control),
      Effect.all([
        ask(server.url, "CREATE DATABASE kept"),
        ask(server.url, "CREATE TABLE kept.t (id INT PRIMARY KEY)"),
        ask(server.url, "INSERT INTO kept.t VALUES (1)")
      ]),
      ask(server.url, "SELECT id FROM kept.t")
    )
    yield* goesWith(scope, pid)
  }))

it.live("a Redis of its own can be killed, started, paused and stopped, keeps what it appends, and goes with its scope", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const layer = RedisServer.layerOwn({ appendonly: true })
    const server = yield* Effect.provide(RedisServer.RedisServer, yield* Layer.buildWithScope(layer, scope))
    assert.notStrictEqual(server.origin, "url")
    const pid = yield* obeys(
      Option.getOrThrow(server.control),
      call(server.url, "RPUSH", "kept", "1"),
      call(server.url, "LRANGE", "kept", "0", "-1")
    )
    yield* goesWith(scope, pid)
  }))

it.live("a paused server goes with its scope", () =>
  Effect.gen(function*() {
    const pid = yield* Effect.scoped(Effect.gen(function*() {
      const { control } = yield* Effect.provide(RedisServer.RedisServer, yield* Layer.build(RedisServer.layerOwn()))
      yield* Option.getOrThrow(control).pause
      return yield* Effect.flatten(Option.getOrThrow(control).pid)
    }))
    assert.isFalse(isAlive(pid))
  }))

it.live("arguments reach the servers, and the defaults of MySQL are the durable ones", () =>
  Effect.gen(function*() {
    const mysql = yield* MysqlServer.MysqlServer
    const redis = yield* RedisServer.RedisServer
    const names = "@@innodb_lock_wait_timeout AS wait, @@lower_case_table_names AS lower_case"
    const durable =
      "@@innodb_flush_log_at_trx_commit AS flush, @@sync_binlog AS sync, @@innodb_doublewrite AS doublewrite"
    assert.deepStrictEqual(yield* ask(mysql.url, `SELECT ${names}, ${durable}`), [
      { wait: 7, lower_case: 1, flush: 1, sync: 1, doublewrite: "ON" }
    ])
    assert.deepStrictEqual(yield* call(redis.url, "CONFIG", "GET", "maxmemory"), ["maxmemory", "10485760"])
    assert.deepStrictEqual(yield* call(redis.url, "CONFIG", "GET", "appendonly"), ["appendonly", "no"])
    assert.deepStrictEqual(yield* call(redis.url, "CONFIG", "GET", "save"), ["save", ""])

    // Without performance_schema nothing can be seen: that is an error, and a database is dropped all the same.
    const name = yield* Effect.gen(function*() {
      const blind = yield* Effect.flip(MysqlServer.assertClean({ within: 0 }))
      assert.include(blind.message, "performance_schema=OFF")
      return (yield* MysqlClient.MysqlClient).config.database
    }).pipe(Effect.provide(MysqlServer.database()))
    assert.deepStrictEqual(yield* ask(mysql.url, `SHOW DATABASES LIKE '${name}'`), [])
  }).pipe(Effect.provide(Layer.mergeAll(
    MysqlServer.layerOwn({
      args: ["--innodb-lock-wait-timeout=7", "--lower-case-table-names=1", "--performance-schema=OFF"]
    }),
    RedisServer.layerOwn({ args: ["--maxmemory", "10mb"] })
  ))))

it.live("an argument that a server refuses is told with the server's own words", () =>
  Effect.gen(function*() {
    const mysql = yield* Effect.flip(Effect.scoped(Layer.build(MysqlServer.layerOwn({ args: ["--no-such-thing"] }))))
    assert.match(mysql.message, /unknown option '--no-such-thing'/)
    const redis = yield* Effect.flip(
      Effect.scoped(Layer.build(RedisServer.layerOwn({ args: ["--no-such-thing", "1"] })))
    )
    assert.match(redis.message, /Bad directive|no-such-thing/)
  }))

it.scopedLive("a port that stays taken is recognized in the words of each server", () =>
  Effect.gen(function*() {
    const taken = String(yield* occupiedPort)
    const [mysql, redis] = yield* Effect.all([
      Effect.flip(Layer.build(MysqlServer.layerOwn({ args: [`--port=${taken}`] }))),
      Effect.flip(Layer.build(RedisServer.layerOwn({ args: ["--port", taken] })))
    ])
    assert.include(mysql.message, "no port could be taken.")
    assert.include(redis.message, "no port could be taken.")
  }))

it.scopedLive("servers and folders go away when the process that started them is killed with -9", () =>
  Effect.gen(function*() {
    const holder = yield* start("fixtures/holdServers.ts")
    const { pids } = JSON.parse(yield* holder.firstLine) as { pids: ReadonlyArray<number> }
    const folders = pids.map(folderOf)
    assert.deepStrictEqual([pids.map(isAlive), folders.map(existsSync)], [[true, true], [true, true]])
    holder.child.kill("SIGKILL")
    yield* eventually("the servers are gone", () => !pids.some(isAlive))
    yield* eventually(
      "the folders are gone",
      () => !folders.some((folder) => existsSync(folder) || existsSync(`${folder}.gone`))
    )
  }))
