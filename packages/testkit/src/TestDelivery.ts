/**
 * A delivery for the unit test of a handler: it needs no Redis, and can be asked what has become of it.
 *
 * It goes wherever a delivery goes: to a handler that takes one, to `Delivery.use` and the rest of `Delivery`, and in a
 * `Stream.make` to a `Worker`.
 *
 * @since 0.1.0
 */
import * as Delivery from "@safesync/redis-streams/Delivery"
import type { Headers } from "@safesync/redis-streams/StreamEntry"
import type * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/**
 * The settlement of a delivery.
 *
 * @since 0.1.0
 * @category models
 */
export type Settlement = Data.TaggedEnum<{
  /** The bracket that took it has ended with success. */
  readonly Acked: {}
  /** By `Delivery.retryAfter`, or a worker's `Disposition.retry`. */
  readonly Retried: { readonly delay: Duration.Duration }
  /** By `Delivery.handBack`, or a worker that was stopped. */
  readonly HandedBack: {}
  /** By `Delivery.deadLetter`, or a worker's `Disposition.deadLetter`. */
  readonly DeadLettered: { readonly reason: string }
}>

/**
 * A delivery that was made for a test.
 *
 * @since 0.1.0
 * @category models
 */
export interface TestDelivery<out A> extends Delivery.Delivery<A> {
  /** Its settlement; none as long as it would be pending. */
  readonly settlement: Effect.Effect<Option.Option<Settlement>>
}

/**
 * The content of a delivery.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<A> {
  readonly value: A
  /** Default: none. */
  readonly headers?: Headers | undefined
  /** The entry's id. Default: one that no other delivery of this process has. */
  readonly id?: string | undefined
  /** Which delivery of its entry it is. Default: 1, the first. */
  readonly attempt?: number | undefined
  /** Default: `"test"`, as for `group` and `consumer`. */
  readonly stream?: string | undefined
  readonly group?: string | undefined
  readonly consumer?: string | undefined
  /** The group's, which bounds `Delivery.retryAfter`. Default: one minute. */
  readonly minIdle?: Duration.DurationInput | undefined
}

/**
 * Makes a delivery. The type of its value is the literal one; name a type where that is too narrow: `make<Payment>({ … })`.
 *
 * @example
 * import * as Delivery from "@safesync/redis-streams/Delivery"
 * import * as TestDelivery from "@safesync/testkit/TestDelivery"
 * import * as Effect from "effect/Effect"
 *
 * const handle = (delivery: Delivery.Delivery<{ readonly pence: number }>) =>
 *   delivery.value.pence < 0
 *     ? Delivery.deadLetter(delivery, "a negative payment")
 *     : Delivery.use(delivery, ({ pence }) => Effect.log(pence))
 *
 * const test = Effect.gen(function*() {
 *   const delivery = TestDelivery.make({ value: { pence: -1 }, attempt: 2 })
 *   yield* handle(delivery)
 *   return yield* delivery.settlement // DeadLettered, a negative payment
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <const A>(options: Options<A>): TestDelivery<A> => {
  let settlement: Option.Option<Settlement> = Option.none()
  const told = (what: Settlement) => {
    settlement = Option.some(what)
  }
  const delivery = Delivery.detached<A>({
    value: options.value,
    headers: options.headers ?? {},
    id: options.id ?? `${Date.now()}-${made++}`,
    attempt: options.attempt ?? 1,
    stream: options.stream ?? "test",
    group: options.group ?? "test",
    consumer: options.consumer ?? "test",
    minIdle: Duration.decode(options.minIdle ?? "1 minute")
  }, {
    acked: () => told({ _tag: "Acked" }),
    retriedAfter: (delay) => told({ _tag: "Retried", delay }),
    handedBack: () => told({ _tag: "HandedBack" }),
    deadLettered: (reason) => told({ _tag: "DeadLettered", reason })
  })
  return Object.assign(delivery, { settlement: Effect.sync(() => settlement) })
}

// internal

let made = 0
