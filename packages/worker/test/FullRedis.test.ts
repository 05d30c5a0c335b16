import { expect, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { balance, bench, credit, one, payments, plain, refuse, source, worked } from "./fixture.js"

/** Its memory is the whole server's. */
const own = Layer.merge(MysqlServer.layer, RedisServer.layerOwn())

layer(own, { excludeTestServices: true })("A Redis whose memory is full", (it) => {
  it.effect(
    "is worked off by a worker that starts there: it handles, retries, and gives up",
    () =>
      bench(Effect.gen(function*() {
        const { deadLetters, group, send } = yield* payments({ minIdle: 500 })
        const redis = yield* Redis.Redis
        yield* send(...Array.from({ length: 20 }, () => one), { account: 2, pence: 5 }, { account: 3, pence: 7 })
        yield* redis.command("CONFIG", "SET", "maxmemory", "1")
        let tries = 0
        // As a service begins.
        const worker = yield* Effect.fork(Effect.zipRight(
          ConsumerGroup.create(group),
          Worker.run(
            source(group, "new"),
            (payment) =>
              payment.account === 3 || payment.account === 2 && tries++ < 4 ? refuse("not yet") : credit(payment),
            {
              ...plain,
              onFailure: (_, { value }) =>
                value.account === 3
                  ? Disposition.deadLetter
                  : Disposition.retry(Schedule.intersect(Schedule.spaced("10 millis"), Schedule.recurs(9)))
            }
          )
        ))
        yield* Effect.raceFirst(worked(group), Fiber.join(worker))
        expect([yield* balance(1), yield* balance(2), yield* balance(3)]).toEqual([20, 5, 0])
        expect(yield* deadLetters).toBe(1)
        yield* Fiber.interrupt(worker)
        yield* redis.command("CONFIG", "SET", "maxmemory", "0")
      })),
    30_000
  )
})
