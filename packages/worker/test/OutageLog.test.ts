import { expect, layer } from "@effect/vitest"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HashMap from "effect/HashMap"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { balance, bench, credit, mysqlBehind, one, payments, plain, until, worked } from "./fixture.js"

/** The log at INFO and above, as so many lines of a terminal, without what a worker says of its own end. */
const log = () => {
  const lines: Array<string> = []
  const said: Array<{ readonly message: string; readonly failures: unknown }> = []
  const logger = Logger.make((options) => {
    if (/^The worker (drains|has stopped)$/.test(String(options.message))) return
    lines.push(...Logger.logfmtLogger.log(options).split("\n"))
    said.push({
      message: String(options.message),
      failures: Option.getOrUndefined(HashMap.get(options.annotations, "failures"))
    })
  })
  return {
    lines,
    of: (part: string) => said.filter(({ message }) => message.includes(part)),
    logger: Logger.replace(Logger.defaultLogger, logger)
  }
}

const all = (count: number) => Array.from({ length: count }, () => one)

/** Its connections are killed one and all. */
const Servers = Layer.merge(MysqlServer.layer, RedisServer.layerOwn())

layer(Servers, { excludeTestServices: true })("The log of an outage", (it) => {
  for (const form of ["run", "runBatch"] as const) {
    it.effect(
      `L24: ${form}: connections to Redis that are killed again and again are told once, and counted`,
      () =>
        bench(Effect.gen(function*() {
          const { group, send } = yield* payments({ minIdle: 300 })
          yield* send(...all(400))
          const { lines, logger, of } = log()
          const redis = yield* Redis.Redis
          const source = StreamConsumer.stream(group, {
            consumer: "a",
            reconnect: Schedule.spaced("10 millis"),
            reclaim: { every: Schedule.spaced("50 millis") }
          })
          const { url } = yield* RedisServer.RedisServer
          const worker = yield* Effect.fork(Effect.provide(
            form === "run"
              ? Worker.run(source, credit, plain)
              : Worker.runBatch(source, (batch) => Effect.forEach(batch, ({ value }) => credit(value)), {
                ...plain,
                concurrency: 1,
                size: 8,
                within: 5
              }),
            Layer.provideMerge(Redis.layer({ url }), logger)
          ))
          for (let n = 20; n <= 400; n += 20) {
            yield* until(balance(1), (now) => now >= n)
            yield* redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
          }
          yield* worked(group)
          yield* send(one)
          yield* worked(group)
          yield* until(Effect.sync(() => of("goes on")), ({ length }) => length === 1)
          yield* until(Effect.sync(() => of("is back")), ({ length }) => length === 1)
          yield* until(
            Effect.sync(() => of("settled again")),
            ({ length }) => length === of("cannot be settled").length
          )
          yield* Fiber.interrupt(worker)
          expect(of("is back")[0]!.failures).toBeGreaterThan(1)
          // of each of the four one line when it begins, and one when it is over
          expect(lines.length, lines.join("\n")).toBeLessThanOrEqual(8)
        })),
      60_000
    )

    it.effect(
      `L24: ${form}: an outage of MySQL is told when it begins and when it is over, with the failures in between`,
      () =>
        bench(Effect.gen(function*() {
          const { group, send } = yield* payments()
          const { behind, proxy } = yield* mysqlBehind
          yield* send(...all(30))
          const { lines, logger, of } = log()
          let failures = 0
          const options = {
            ...plain,
            onFailure: () => {
              failures++
              return Disposition.retry(Schedule.spaced("10 millis"))
            }
          }
          const source = StreamConsumer.stream(group, {
            consumer: "a",
            reclaim: { every: Schedule.spaced("20 millis") }
          })
          yield* proxy.stall("replies")
          const worker = yield* Effect.fork(Effect.provide(
            form === "run"
              ? Worker.run(source, credit, options)
              : Worker.runBatch(source, (batch) => Effect.forEach(batch, ({ value }) => credit(value)), {
                ...options,
                concurrency: 2,
                size: 4,
                within: 5
              }),
            Layer.merge(Layer.succeedContext(behind), logger)
          ))
          // some are in the middle of a transaction
          yield* proxy.resume("replies")
          yield* until(balance(1), (n) => n > 4)
          yield* proxy.refuse
          yield* proxy.cut
          yield* send(...all(30))
          yield* until(Effect.sync(() => failures), (n) => n > 60)
          yield* proxy.accept
          yield* worked(group)
          expect(yield* balance(1)).toBe(60)
          const [over] = yield* until(Effect.sync(() => of("can be used again")), ({ length }) => length > 0)
          yield* Fiber.interrupt(worker)
          expect(over!.failures).toBe(failures)
          expect(lines.length, lines.join("\n")).toBe(2)
        })),
      60_000
    )
  }

  it.effect("L24: a worker that ends in the middle of an outage tells what it has counted", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments({ left: 3 })
      const { behind, proxy } = yield* mysqlBehind
      yield* proxy.refuse
      yield* proxy.cut
      yield* send(...all(3))
      const { lines, logger, of } = log()
      let failures = 0
      const worker = yield* Effect.fork(Effect.provide(
        Worker.run(StreamConsumer.stream(group, { consumer: "a" }), credit, {
          ...plain,
          onFailure: () => {
            failures++
            return Disposition.retry(Schedule.spaced("1 minute"))
          }
        }),
        Layer.merge(Layer.succeedContext(behind), logger)
      ))
      yield* until(Effect.sync(() => failures), (n) => n === 3)
      yield* Fiber.interrupt(worker)
      expect(of("it is not over")[0]!.failures).toBe(3)
      expect(lines).toHaveLength(2)
      yield* proxy.accept
    })))
})
