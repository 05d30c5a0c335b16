import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Inbox from "@safesync/mysql/Inbox"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as DeadLetter from "@safesync/redis-streams/DeadLetter"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { fork } from "node:child_process"
import { randomBytes } from "node:crypto"
import { createRequire } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"
import { bench, marks, Servers, worked } from "./fixture.js"

const Job = Schema.Struct({ number: Schema.Number, poison: Schema.Boolean })

/** Runs one process until it dies. One that asks to be killed is. */
const life = (settings: object) =>
  Effect.async<void>((resume) => {
    const child = fork(fileURLToPath(new URL("./processes/suspect.ts", import.meta.url)), [], {
      execArgv: [
        "--max-old-space-size=96",
        "--import",
        pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href
      ],
      env: {
        ...process.env,
        TSX_TSCONFIG_PATH: fileURLToPath(new URL("../../../tsconfig.json", import.meta.url)),
        SETTINGS: JSON.stringify(settings)
      },
      stdio: ["ignore", "inherit", "ignore", "ipc"]
    })
    child.once("exit", () => resume(Effect.void))
    child.on("message", (message) => message === "kill me" && child.kill("SIGKILL"))
    return Effect.async<void>((killed) => {
      child.once("exit", () => killed(Effect.void))
      child.kill("SIGKILL")
    })
  })

layer(Servers, { excludeTestServices: true })("A message that ends its process", (it) => {
  const cases = [
    { form: "run", end: "exit", maxDeaths: undefined, reason: "its process died three times" },
    { form: "by key", end: "killed", maxDeaths: 2, reason: "its process died twice" },
    { form: "runBatch", end: "out of memory", maxDeaths: 1, reason: "its process died once" }
  ] as const
  for (const { end, form, maxDeaths, reason } of cases) {
    it.effect(
      `L24: ${form}, ${end}: it goes to the dead letters, alone, and all that came with it are handled`,
      () =>
        bench(Effect.gen(function*() {
          const stream = `jobs-${randomBytes(6).toString("hex")}`
          const sql = yield* SqlClient
          yield* Inbox.migration
          yield* sql`CREATE TABLE done (id INT PRIMARY KEY AUTO_INCREMENT, number INT NOT NULL)`
          const group = yield* ConsumerGroup.make({
            stream,
            group: "jobs",
            schema: Job,
            startId: "0",
            minIdle: "1 minute"
          })
          yield* ConsumerGroup.create(group)
          const redis = yield* Redis.Redis
          yield* Effect.addFinalizer(() => Effect.ignore(redis.command("DEL", stream, group.deadLetterStream)))
          const producer = yield* StreamProducer.make({ stream, schema: Job })
          const ids = yield* StreamProducer.sendAll(
            producer,
            Array.from({ length: 64 }, (_, number) => ({ number, poison: number === 5 }))
          )
          const { config } = yield* MysqlClient.MysqlClient
          const mysql = new URL(Redacted.value((yield* MysqlServer.MysqlServer).url))
          mysql.pathname = `/${config.database}`
          const settings = {
            mysql: mysql.href,
            redis: Redacted.value((yield* RedisServer.RedisServer).url),
            stream,
            form,
            end,
            maxDeaths
          }
          let deaths = 0
          const dying = Effect.repeat(Effect.zipRight(life(settings), Effect.sync(() => ++deaths)), {
            until: (n) => n > 8
          })
          yield* Effect.raceFirst(worked(group), dying)
          // two among others, which may have been another's fault, and as many alone as the option says
          expect(deaths).toBe(2 + (maxDeaths ?? 3))
          const letters = Chunk.toReadonlyArray(yield* Stream.runCollect(DeadLetter.stream(group)))
          expect(letters.map(({ attempts, originalId, reason }) => ({ attempts, originalId, reason }))).toEqual([
            { attempts: deaths + 1, originalId: ids[5], reason }
          ])
          const done = yield* sql<{ number: number }>`SELECT number FROM done ORDER BY number`
          expect(done.map(({ number }) => number)).toEqual(ids.map((_, n) => n).filter((n) => n !== 5))
          expect(yield* marks(stream)).toEqual([])
        })),
      120_000
    )
  }
})
