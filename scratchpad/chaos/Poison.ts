/**
 * L24: one message that can never be handled, among many that can. It has as many attempts as the caller gives it and goes to the dead
 * letters; every other one is handled once, and none of another key waits for it.
 *
 * @since 0.1.0
 */
import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Inbox from "@safesync/mysql/Inbox"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { Outcome, Scenario, Settings } from "./Scenario.js"
import * as Seeded from "./Seeded.js"
import * as ServerState from "./ServerState.js"

/**
 * @since 0.1.0
 * @category scenarios
 */
export const scenario: Scenario = {
  name: "poison",
  description:
    "A message that never succeeds, among thousands that do: it is dead-lettered, and nobody waits for it (L24)",
  unit: "good messages",
  runs: 10_000,
  run: (settings) => Effect.provide(Effect.scoped(run(settings)), services) as Effect.Effect<Outcome, Error>
}

// internal

const Payment = Schema.Struct({ account: Schema.Int, pence: Schema.Int })

const accounts = 50
const poisoned = 0
const attempts = 3
const within = "4 minutes"

const services = Layer.merge(
  MysqlServer.database({ maxConnections: 8 }),
  Layer.unwrapEffect(Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url })))
).pipe(Layer.provideMerge(Layer.merge(MysqlServer.layerOwn(), RedisServer.layerOwn())))

const run = (settings: Settings) =>
  Effect.gen(function*() {
    const failures: Array<string> = []
    const figures: Array<readonly [string, number | string]> = []
    for (const keyed of [true, false]) {
      const { failed, seconds } = yield* one(settings, keyed)
      figures.push([`seconds, ${keyed ? "in order by key" : "in any order"}`, seconds.toFixed(1)])
      failures.push(...failed)
    }
    return { figures: [["good messages each", settings.runs], ...figures], failures } satisfies Outcome
  })

const one = (settings: Settings, keyed: boolean) =>
  Effect.gen(function*() {
    const what = keyed ? "by key" : "without a key"
    const sql = yield* SqlClient
    yield* Inbox.migration
    yield* sql`DROP TABLE IF EXISTS account`
    yield* sql`CREATE TABLE account (id INT PRIMARY KEY, pence BIGINT NOT NULL, handled INT NOT NULL)`
    yield* Effect.forEach(Array.from({ length: accounts }), (_, id) => sql`INSERT INTO account VALUES (${id}, 0, 0)`)
    const stream = keyed ? "by-key" : "any-order"
    const group = yield* ConsumerGroup.make({
      stream,
      group: "books",
      schema: Payment,
      startId: "0",
      minIdle: "1 minute"
    })
    yield* ConsumerGroup.create(group)
    const producer = yield* StreamProducer.make({ stream, schema: Payment })
    const random = Seeded.make(settings.seed, stream)
    let pence = 0
    const good = Array.from({ length: settings.runs }, () => {
      const payment = { account: random.between(1, accounts - 1), pence: random.between(1, 999) }
      pence += payment.pence
      return payment
    })
    const at = random.between(0, Math.floor(good.length / 2))
    yield* StreamProducer.sendAll(producer, [...good.slice(0, at), { account: poisoned, pence: 0 }, ...good.slice(at)])

    let tried = 0
    const others = yield* Deferred.make<void>()
    const begun = performance.now()
    const worker = yield* Effect.fork(Worker.run(
      StreamConsumer.stream(group, { consumer: "a", reclaim: { every: Schedule.spaced("50 millis") } }),
      ({ account, pence }): Effect.Effect<unknown, SqlError | "poison"> =>
        account === poisoned
          // Its last attempt but one takes until all the others are done: so none of them has waited for it.
          ? Effect.zipRight(
            ++tried === attempts - 1 ? Deferred.await(others) : Effect.void,
            Effect.fail("poison" as const)
          )
          : sql`UPDATE account SET pence = pence + ${pence}, handled = handled + 1 WHERE id = ${account}`,
      {
        concurrency: 8,
        inbox: "message-id",
        onFailure: () =>
          Disposition.retry(Schedule.intersect(Schedule.spaced("50 millis"), Schedule.recurs(attempts - 1))),
        ...(keyed ? { key: ({ account }: typeof Payment.Type) => String(account) } : {})
      }
    ))
    const books = Effect.map(
      sql<{ handled: string; pence: string }>`SELECT SUM(handled) AS handled, SUM(pence) AS pence FROM account`,
      ([row]) => {
        const found = { handled: Number(row!.handled), pence: Number(row!.pence) }
        settings.progress.update(Math.min(found.handled, settings.runs), what)
        return found
      }
    )
    const failed: Array<string> = []
    if ((yield* ServerState.within(within, books, ({ handled }) => handled >= good.length)).handled < good.length) {
      failed.push(`${what}: not all good messages were handled while the bad one was tried`)
    }
    const seconds = (performance.now() - begun) / 1000
    if (tried >= attempts) failed.push(`${what}: the bad message was not there any more when all others were done`)
    yield* Deferred.succeed(others, undefined)
    const redis = yield* Redis.Redis
    const settled = Effect.zipWith(
      ConsumerGroup.info(group),
      redis.command("XLEN", group.deadLetterStream),
      ({ lag, pending }, deadLetters) => Option.contains(lag, 0) && pending === 0 && deadLetters === 1
    )
    if (!(yield* ServerState.within(within, settled, (yes) => yes))) failed.push(`${what}: not all was settled`)
    const found = yield* books
    if (tried !== attempts) failed.push(`${what}: the bad message had ${tried} attempts where ${attempts} were its due`)
    if (found.handled !== good.length || found.pence !== pence) {
      failed.push(`${what}: sent ${good.length} of ${pence} pence, handled ${found.handled} of ${found.pence}`)
    }
    yield* Fiber.interrupt(worker)
    return { failed, seconds }
  })
