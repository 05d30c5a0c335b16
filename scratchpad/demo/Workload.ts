/**
 * The part of the demo that is measured: lines go into the stream, worker processes take them out, and one of the workers is
 * killed on the way.
 *
 * @since 0.1.0
 */
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import type { Redis } from "@safesync/redis-streams/Redis"
import type { RedisError } from "@safesync/redis-streams/RedisError"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Redacted } from "effect/Redacted"
import type { Scope } from "effect/Scope"
import { DemoError } from "./DemoError.js"
import { type InvoiceLine, RawLine } from "./InvoiceLine.js"
import * as Messages from "./Messages.js"
import * as Progress from "./Progress.js"
import type { Report } from "./Report.js"
import * as WorkerProcess from "./WorkerProcess.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly lines: ReadonlyArray<RawLine>
  readonly workers: number
  /** Where the first worker offers its metrics; nowhere without it. */
  readonly metricsPort: number | undefined
  /** Whether one of the workers is killed when a third of the entries is acked. */
  readonly kill: boolean
  readonly stream: string
  readonly mysqlUrl: Redacted<string>
  readonly redisUrl: Redacted<string>
}

/**
 * @since 0.1.0
 * @category models
 */
export type Outcome = Pick<Report, "killed" | "redelivered" | "retries" | "conflicts" | "seconds">

/**
 * How many entries are made of a line: every 97th is sent twice, as by a producer that did not hear the reply.
 *
 * @since 0.1.0
 * @category input
 */
export const sentTimes = (line: number): number => line % 97 === 0 ? 2 : 1

/**
 * How many entries are made of the lines.
 *
 * @since 0.1.0
 * @category input
 */
export const entryCount = (lines: ReadonlyArray<RawLine>): number =>
  lines.reduce((sum, { line }) => sum + sentTimes(line), 0)

/**
 * Returns when every entry is acked and every worker has stopped cleanly.
 *
 * @since 0.1.0
 * @category run
 */
export const run = (options: Options): Effect.Effect<Outcome, DemoError | RedisError, Redis | Scope> =>
  Effect.gen(function*() {
    const { mysqlUrl, redisUrl, stream } = options
    const group = yield* Effect.orDie(Messages.consumerGroup(stream))
    const producer = yield* Effect.orDie(StreamProducer.make({ stream, schema: RawLine }))
    yield* ConsumerGroup.create(group)
    yield* requireLag(group)

    const start = performance.now()
    const workers = yield* Effect.forEach(
      Array.from({ length: options.workers }, (_, n) => n),
      (n) =>
        WorkerProcess.start({
          mysqlUrl,
          redisUrl,
          stream,
          consumer: `worker-${n + 1}`,
          metricsPort: options.metricsPort === undefined ? undefined : options.metricsPort + n
        })
    )
    const progress = yield* Progress.make(entryCount(options.lines))
    const hand = { expected: new Set<WorkerProcess.WorkerProcess>(), sent: false }
    const send = StreamProducer.sendAll(producer, entries(options.lines)).pipe(
      Effect.orDieWith((error) => error),
      Effect.tap(() => {
        hand.sent = true
      })
    )
    const [, killed] = yield* Effect.raceFirst(
      Effect.all([send, watch(options, group, workers, progress, hand)], { concurrency: 2 }),
      firstCrash(workers, hand.expected)
    )
    const seconds = (performance.now() - start) / 1000
    for (const worker of workers) hand.expected.add(worker)
    yield* Effect.forEach(workers, (worker) => worker.stop, { concurrency: "unbounded", discard: true })
    const { conflicts, redelivered, retries } = total(workers)
    return { killed, conflicts, redelivered, retries, seconds }
  })

// internal

function* entries(lines: ReadonlyArray<RawLine>): Generator<RawLine> {
  for (const line of lines) {
    for (let n = sentTimes(line.line); n > 0; n--) yield line
  }
}

type Workers = ReadonlyArray<WorkerProcess.WorkerProcess>

const total = (workers: Workers): Messages.Counters =>
  workers.map((worker) => worker.counters()).reduce((sum, counters) => ({
    redelivered: sum.redelivered + counters.redelivered,
    retries: sum.retries + counters.retries,
    conflicts: sum.conflicts + counters.conflicts
  }))

/** Without the lag nobody could tell when the work is done. */
const requireLag = (
  group: ConsumerGroup.ConsumerGroup<InvoiceLine>
): Effect.Effect<void, DemoError | RedisError, Redis> =>
  Effect.flatMap(ConsumerGroup.info(group), ({ lag }) =>
    Option.isSome(lag)
      ? Effect.void
      : new DemoError({ message: "This Redis does not tell a group's lag. The demo needs Redis 7.0 or later." }))

/** Fails as soon as a worker ends that nobody has asked to. */
const firstCrash = (
  workers: Workers,
  expected: ReadonlySet<WorkerProcess.WorkerProcess>
): Effect.Effect<never, DemoError> =>
  Effect.flatMap(Deferred.make<never, DemoError>(), (crash) =>
    Effect.raceFirst(
      Deferred.await(crash),
      Effect.zipRight(
        Effect.forEach(workers, (worker) =>
          Effect.flatMap(worker.ended, (how) =>
            expected.has(worker)
              ? Effect.void
              : Deferred.fail(
                crash,
                new DemoError({ message: `${worker.name} ${WorkerProcess.describe(how)}` })
              )), { concurrency: "unbounded", discard: true }),
        Effect.never
      )
    ))

/** Looks now and then, until everything that was sent is acked. */
const watch = (
  options: Options,
  group: ConsumerGroup.ConsumerGroup<InvoiceLine>,
  workers: Workers,
  progress: Progress.Progress,
  hand: { readonly expected: Set<WorkerProcess.WorkerProcess>; readonly sent: boolean }
): Effect.Effect<Outcome["killed"], DemoError | RedisError, Redis> =>
  Effect.gen(function*() {
    let killed: Outcome["killed"] = null
    const rate = rateOf(2_000)
    const stalled = stalledFor(60_000)
    for (;;) {
      const sent = hand.sent
      const info = yield* ConsumerGroup.info(group)
      const lag = Option.getOrElse(info.lag, () => 0)
      // While entries are still being sent, these three are not of one moment.
      const settled = Math.max(0, info.length - lag - info.pending)
      progress.update({ ...total(workers), settled, rate: rate(settled), lag })
      if (sent && lag === 0 && info.pending === 0) return killed
      if (stalled(`${lag} ${info.pending}`)) {
        return yield* new DemoError({
          message: `Nothing has moved for a minute: ${lag} entries are unread and ${info.pending} pending.`
        })
      }
      if (options.kill && killed === null && settled >= entryCount(options.lines) / 3) {
        killed = yield* kill(group, workers, info, hand.expected)
        progress.say(
          `${killed.name} (pid ${killed.pid}) got SIGKILL; ${killed.pending} entries are pending for it, ` +
            `the other workers take them over`
        )
      }
      yield* Effect.sleep("100 millis")
    }
  })

/** Kills the worker that has the most on its hands. */
const kill = (
  group: ConsumerGroup.ConsumerGroup<InvoiceLine>,
  workers: Workers,
  info: ConsumerGroup.Info,
  expected: Set<WorkerProcess.WorkerProcess>
): Effect.Effect<NonNullable<Outcome["killed"]>, RedisError, Redis> =>
  Effect.gen(function*() {
    const pendingOf = ({ name }: WorkerProcess.WorkerProcess, { consumers }: ConsumerGroup.Info) =>
      consumers.find((consumer) => consumer.name === name)?.pending ?? 0
    const victim = workers.reduce((most, worker) => pendingOf(worker, info) > pendingOf(most, info) ? worker : most)
    expected.add(victim)
    yield* victim.kill
    const pending = pendingOf(victim, yield* ConsumerGroup.info(group))
    return { name: victim.name, pid: victim.pid, pending }
  })

/** What was added a second, within the last `window` milliseconds. */
const rateOf = (window: number) => {
  let samples: Array<readonly [at: number, count: number]> = []
  return (count: number): number => {
    const now = performance.now()
    samples = [...samples.filter(([at]) => now - at <= window), [now, count]]
    const [at, first] = samples[0]!
    return now > at ? (count - first) / (now - at) * 1000 : 0
  }
}

/** Whether a state has been the same for so many milliseconds. */
const stalledFor = (bound: number) => {
  let last = ""
  let since = performance.now()
  return (state: string): boolean => {
    if (state !== last) {
      last = state
      since = performance.now()
    }
    return performance.now() - since > bound
  }
}
