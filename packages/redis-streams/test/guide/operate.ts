import {
  ConsumerGroup,
  DeadLetter,
  Delivery,
  Redis,
  RedisError,
  StreamConsumer,
  StreamProducer
} from "@safesync/redis-streams"
import { Config, Effect, Option, Schedule, Stream } from "effect"

/** May be repeated: it makes one entry for each invoice, whatever happens to a reply. */
export const sendInvoice = <A>(producer: StreamProducer.StreamProducer<A>, invoice: string, payment: A) =>
  StreamProducer.sendOnce(producer, payment, { key: invoice, remember: "1 day" }).pipe(
    Effect.retry({
      schedule: Schedule.exponential("50 millis").pipe(Schedule.intersect(Schedule.recurs(8))),
      while: RedisError.isTransient
    })
  )

/** One entry, if there is one within ten seconds: for those who want no `Stream`. */
export const consumeOne = <A, B, E, R>(
  group: ConsumerGroup.ConsumerGroup<A>,
  handle: (value: A) => Effect.Effect<B, E, R>
) =>
  Effect.scoped(Effect.gen(function*() {
    const delivery = yield* StreamConsumer.next(group, { consumer: "billing-1", block: "10 seconds" })
    return Option.isNone(delivery)
      ? Option.none<B>()
      : Option.some(yield* Delivery.use(delivery.value, handle))
  }))

/** What one process does now and then, whatever else it does. */
export const upkeep = <A>(group: ConsumerGroup.ConsumerGroup<A>, producer: StreamProducer.StreamProducer<A>) =>
  Effect.all({
    trimmed: StreamProducer.trimAcked(producer),
    forgotten: DeadLetter.purge(group, { olderThan: "30 days" }),
    gone: ConsumerGroup.removeIdleConsumers(group, { idle: "1 day" })
  })

/** What has died is told, and sent again if today's schema takes it. It ends with the last dead letter. */
export const replayAll = <A>(group: ConsumerGroup.ConsumerGroup<A>) =>
  Stream.runForEach(DeadLetter.stream(group), (dead) =>
    DeadLetter.decode(group, dead).pipe(
      Effect.tap(() => Effect.logInfo(`${dead.originalId}, after ${dead.attempts} attempts: ${dead.reason}`)),
      Effect.zipRight(DeadLetter.replay(group, dead)),
      Effect.catchTag("ParseError", () => Effect.logWarning(`${dead.originalId} still does not fit the schema`))
    ))

/** `rediss://`, with a certificate that an authority of one's own has signed. */
export const RedisTls = (ca: string) =>
  Redis.layerConfig(Config.map(Config.redacted("REDIS_URL"), (url) => ({ url, tls: { ca } })))
