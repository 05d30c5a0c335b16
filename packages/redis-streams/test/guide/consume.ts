import { ConsumerGroup, Delivery, Redis, StreamConsumer, StreamProducer } from "@safesync/redis-streams"
import { Config, Effect, Schedule, Schema, Stream } from "effect"

const Payment = Schema.Struct({ account: Schema.Int, pence: Schema.Int })

export const pay = Effect.gen(function*() {
  const producer = yield* StreamProducer.make({ stream: "payments", schema: Payment, trim: { maxAge: "7 days" } })
  return yield* StreamProducer.send(producer, { account: 7, pence: 1299 })
})

export const consume = (handle: (payment: typeof Payment.Type) => Effect.Effect<void, Error>) =>
  Effect.gen(function*() {
    const group = yield* ConsumerGroup.make({
      stream: "payments",
      group: "billing",
      schema: Payment,
      startId: "0", // where the group begins when it is created: everything that is in the stream
      minIdle: "30 seconds" // how long an entry may show no sign of life before others take it over
    })
    yield* ConsumerGroup.create(group)

    const consumer = "billing-1" // one running process per name
    const reconnect = Schedule.exponential("100 millis").pipe(Schedule.union(Schedule.spaced("5 seconds")))
    const reclaim = { every: Schedule.jittered(Schedule.spaced("10 seconds")) } // also what is stale, whoever had it
    const deliveries = StreamConsumer.stream(group, { consumer, reclaim, reconnect })

    yield* Stream.runForEach(deliveries, (delivery) =>
      Delivery.use(delivery, handle).pipe( // acked if, and only if, `handle` succeeds
        Effect.catchAll((error) =>
          delivery.attempt < 5
            ? Delivery.retryAfter(delivery, `${2 ** delivery.attempt} seconds`)
            : Delivery.deadLetter(delivery, error.message)
        ),
        // Redis is away, or somebody else has it: it stays pending, and comes again.
        Effect.catchAll((error) => Effect.logWarning("A delivery was not settled", error))
      ))
  })

export const RedisLive = Redis.layerConfig({ url: Config.redacted("REDIS_URL") })
