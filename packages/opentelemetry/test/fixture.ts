import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Outbox from "@safesync/mysql/Outbox"
import * as Redis from "@safesync/redis-streams/Redis"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { fork } from "node:child_process"
import { randomBytes } from "node:crypto"
import { createRequire } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"
import type { Settings } from "./processes/settings.js"

export const Servers = Layer.merge(MysqlServer.layer, RedisServer.layer)

export const RedisLive = Layer.unwrapEffect(Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url })))

/** A database with an account, and a stream of payments to it: what the programs of `processes/` are told. */
export const payments = (messages: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient
    const stream = `payments-${randomBytes(6).toString("hex")}`
    yield* Inbox.migration
    yield* Outbox.migration
    yield* sql`CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL, version INT NOT NULL)`
    yield* sql`INSERT INTO account VALUES (1, 0, 0)`
    yield* sql`CREATE TABLE entry (id INT AUTO_INCREMENT PRIMARY KEY, pence INT NOT NULL)`
    const redis = yield* Redis.Redis
    yield* Effect.addFinalizer(() => Effect.ignore(redis.command("DEL", stream, `{${stream}}:dead`)))
    const mysql = yield* MysqlServer.MysqlServer
    const { config } = yield* MysqlClient.MysqlClient
    const url = new URL(Redacted.value(mysql.url))
    url.pathname = `/${config.database}`
    const settings: Settings = {
      mysql: url.href,
      redis: Redacted.value((yield* RedisServer.RedisServer).url),
      stream,
      messages
    }
    const balance = Effect.map(sql<{ balance: number }>`SELECT balance FROM account`, ([row]) => row!.balance)
    return { settings, balance, stream }
  })

/** One of the programs in a process of its own, which gets SIGTERM when the scope closes. `ended`: its exit code. */
export const run = (program: "producer" | "worker", settings: Settings, variables: Record<string, string>) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const child = fork(fileURLToPath(new URL(`./processes/${program}.ts`, import.meta.url)), {
          execArgv: ["--import", pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href],
          env: { ...process.env, ...variables, SETTINGS: JSON.stringify(settings) }
        })
        return { child, ended: new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code))) }
      }),
      ({ child, ended }) =>
        Effect.promise(() => {
          child.kill("SIGTERM")
          return ended
        })
    ),
    ({ child, ended }) => ({ ended: Effect.promise(() => ended), stop: Effect.sync(() => child.kill("SIGTERM")) })
  )
