import { ConsumerGroup, Delivery, Reclaim, StreamConsumer, StreamProducer } from "@safesync/redis-streams"
import { Effect, Option, Schema, Stream } from "effect"

/** The payload has a schema. On the wire it is what Python writes and reads: one field, `data`, that holds JSON. */
export const Job = Schema.Struct({ number: Schema.Int })

/** `QueueConfig`: stream_key, consumer_group, claim_idle_ms. Python's group begins at 0 too. */
export const jobs = Effect.tap(
  ConsumerGroup.make({ stream: "jobs", group: "workers", schema: Job, startId: "0", minIdle: "60 seconds" }),
  ConsumerGroup.create
)

/** `queue.enqueue(payload)`: the entry's id. */
export const enqueue = (number: number) =>
  Effect.flatMap(StreamProducer.make({ stream: "jobs", schema: Job }), (producer) => StreamProducer.send(producer, { number }))

/** `consumer.next(block_ms)` and `consumer.ack(message)`: the ack is the end of `use`, if what it runs succeeds. */
export const one = <E, R>(consumer: string, handle: (job: typeof Job.Type) => Effect.Effect<void, E, R>) =>
  Effect.scoped(Effect.gen(function*() {
    const delivery = yield* StreamConsumer.next(yield* jobs, { consumer, block: "5 seconds" })
    return yield* Effect.transposeMapOption(delivery, Delivery.use(handle))
  })).pipe(Effect.map(Option.isSome))

/** `consumer.iter_messages()`: a Stream, which ends when its fiber is interrupted and does not wait for the block time then. */
export const all = <E, R>(consumer: string, handle: (job: typeof Job.Type) => Effect.Effect<void, E, R>) =>
  Effect.flatMap(jobs, (group) =>
    Stream.runForEach(StreamConsumer.stream(group, { consumer, block: "5 seconds" }), Delivery.use(handle)))

/** `consumer.claim_stale(count=10)`: sees past younger entries. `takeOwn: false` is claim_skip_own_messages. */
export const stale = <E, R>(consumer: string, handle: (job: typeof Job.Type) => Effect.Effect<void, E, R>) =>
  Effect.scoped(Effect.gen(function*() {
    const deliveries = yield* Reclaim.once(yield* jobs, { consumer, count: 10 })
    yield* Effect.forEach(deliveries, Delivery.use(handle), { discard: true })
    return deliveries.length
  }))
