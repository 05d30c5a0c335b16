/**
 * Producers and consumers at work while the network is cut, stalled and loses replies, and the server is killed and comes
 * back with its data. `SAFESYNC_FAULTS` sets how many times; a report names the seed.
 */
import { assert, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { Order, order, pendingOf, until } from "./fixture.js"

const faults = Number(process.env.SAFESYNC_FAULTS ?? 24)
const seed = Number(process.env.SAFESYNC_SEED ?? Math.floor(Math.random() * 1e9))

/** A client of its own behind a proxy of its own. */
const client = Effect.gen(function*() {
  const { url } = yield* RedisServer.RedisServer
  const proxy = yield* TcpProxy.make(url)
  const context = yield* Layer.build(
    Redis.layer({ url: proxy.through(url), commandTimeout: "250 millis", connectTimeout: "2 seconds" })
  )
  return { proxy, context }
})

layer(RedisServer.layerOwn({ appendonly: true }), { excludeTestServices: true })("faults", (it) => {
  it.scoped(
    `L15, L16, L20, L21: what was sent is handled, through ${faults} faults (seed ${seed})`,
    () =>
      Effect.gen(function*() {
        const group = yield* ConsumerGroup.make({
          stream: "orders",
          group: "billing",
          schema: Order,
          startId: "0",
          minIdle: "500 millis"
        })
        const producer = yield* StreamProducer.make({ stream: "orders", schema: Order })
        const direct = yield* client
        yield* Effect.provide(ConsumerGroup.create(group), direct.context)

        // The producer counts what it was told is there; anything else may or may not be.
        const promised = new Set<string>()
        const sending = yield* client
        let number = 0
        const produce = StreamProducer.sendAll(producer, [1, 2, 3].map(() => order(number++))).pipe(
          Effect.map((ids) => ids.forEach((id) => promised.add(id))),
          Effect.catchAll(() => Effect.sleep("5 millis")),
          Effect.zipLeft(Effect.sleep("1 millis")),
          Effect.forever,
          Effect.provide(sending.context)
        )

        const handled = new Set<string>()
        /** What ended although it should have gone on. */
        const stopped: Array<string> = []
        const consume = (consumer: string) =>
          Effect.gen(function*() {
            const { context, proxy } = yield* client
            const reconnect = Schedule.spaced("20 millis")
            const queue = yield* Queue.bounded<Delivery.Delivery<Order>>(8)
            const handle = Effect.flatMap(Queue.take(queue), (delivery) =>
              Effect.ignore(Delivery.use(delivery, ({ number }) =>
                number % 7 === 0 && delivery.attempt === 1
                  ? Effect.fail("later")
                  : Effect.sync(() => handled.add(delivery.id)))))
            const watch = <A, E, R>(self: Effect.Effect<A, E, R>) =>
              Effect.onExit(self, (exit) =>
                Effect.sync(() => stopped.push(`${consumer}: ${exit}`)))
            yield* Effect.forEach([1, 2, 3, 4], () => Effect.forkScoped(watch(Effect.forever(handle))))
            yield* Stream.merge(
              StreamConsumer.stream(group, { consumer, batchSize: 16, reconnect }),
              Reclaim.stream(group, { consumer, batchSize: 16, every: Schedule.spaced("100 millis"), reconnect })
            ).pipe(
              Stream.runForEachChunk((chunk) => Queue.offerAll(queue, chunk)),
              Effect.provide(context),
              watch,
              Effect.forkScoped
            )
            return proxy
          })

        const consumers = yield* Effect.forEach(["a", "b"], consume)
        const producing = yield* Effect.fork(produce)

        const { control } = yield* RedisServer.RedisServer
        const server = Option.getOrThrow(control)
        const proxies = [...consumers, sending.proxy]
        const breakSomething = Effect.gen(function*() {
          const proxy = proxies[yield* Random.nextIntBetween(0, proxies.length)]!
          const pause = Effect.sleep(yield* Random.nextIntBetween(1, 60))
          switch (yield* Random.nextIntBetween(0, 7)) {
            case 0:
              return yield* proxy.cut
            case 1:
              return yield* proxy.stall().pipe(
                Effect.zipRight(Effect.sleep("300 millis")),
                Effect.zipRight(proxy.resume())
              )
            case 2:
              return yield* proxy.stall("replies").pipe(
                Effect.zipRight(pause),
                Effect.zipRight(proxy.resume("replies"))
              )
            case 3:
              return yield* proxy.refuse.pipe(
                Effect.zipRight(proxy.cut),
                Effect.zipRight(pause),
                Effect.zipRight(proxy.accept)
              )
            case 4:
              return yield* proxy.loseReplies((yield* Random.nextBoolean) ? "XREADGROUP" : "XACK")
            case 5:
              return yield* proxy.loseReplies("XADD", "hang")
            default:
              return yield* server.kill.pipe(Effect.zipRight(pause), Effect.zipRight(server.start))
          }
        })
        yield* Effect.repeatN(
          Effect.flatMap(
            Random.nextIntBetween(1, 80),
            (millis) => Effect.zipRight(Effect.sleep(millis), breakSomething)
          ),
          faults - 1
        )

        yield* Effect.forEach(proxies, (proxy) => Effect.zipRight(proxy.accept, proxy.resume()))
        yield* Fiber.interrupt(producing)
        assert.deepStrictEqual(stopped, [])
        yield* until(pendingOf(group), (pending) => pending.length === 0).pipe(
          Effect.zipRight(
            until(ConsumerGroup.info(group), (info) => info.pending === 0 && Option.getOrElse(info.lag, () => 0) === 0)
          ),
          Effect.retry(Schedule.spaced("50 millis")),
          Effect.timeoutOption("20 seconds"),
          Effect.flatMap(Option.match({
            onSome: () => Effect.void,
            onNone: () =>
              Effect.flatMap(Effect.all([pendingOf(group), ConsumerGroup.info(group)]), (state) =>
                Effect.fail(new Error(`somebody hangs: ${JSON.stringify([stopped, state])}`)))
          })),
          Effect.provide(direct.context)
        )
        assert.deepStrictEqual(
          [...promised].filter((id) =>
            !handled.has(id)
          ),
          []
        )
        assert.isAbove(promised.size, faults)
      }).pipe(Effect.withRandom(Random.make(seed)), Logger.withMinimumLogLevel(LogLevel.None)),
    60_000 + faults * 2000
  )
})
