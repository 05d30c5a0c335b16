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
  /** Whether one of the workers is killed, at work, once a third of the entries is acked. */
  readonly kill: boolean
  readonly stream: string
  readonly mysqlUrl: Redacted<string>
  readonly redisUrl: Redacted<string>
}

/**
 * @since 0.1.0
 * @category models
 */
export type Outcome = Pick<Report, "killed" | "redelivered" | "duplicatesRefused" | "retries" | "conflicts" | "seconds">

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
      // Text is all there is to encode. What Redis says stays an error.
      Effect.catchTag("ParseError", Effect.die),
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
    const { conflicts, duplicates, redelivered, retries } = total(workers)
    return {
      killed: killed && {
        name: killed.name,
        pid: killed.pid,
        pending: killed.pending,
        takenOver: Math.min(killed.pending, redelivered - killed.redelivered)
      },
      conflicts,
      redelivered,
      duplicatesRefused: duplicates,
      retries,
      seconds
    }
  })

// internal

function* entries(lines: ReadonlyArray<RawLine>): Generator<RawLine> {
  for (const line of lines) {
    for (let n = sentTimes(line.line); n > 0; n--) yield line
  }
}

type Workers = ReadonlyArray<WorkerProcess.WorkerProcess>

const total = (workers: Workers): Messages.Counters => Messages.total(workers.map((worker) => worker.counters()))

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
): Effect.Effect<Killed | null, DemoError | RedisError, Redis> =>
  Effect.gen(function*() {
    let killed: Killed | null = null
    const rate = rateOf(2_000)
    const stalled = stalledFor(60_000)
    for (;;) {
      const sent = hand.sent
      const info = yield* ConsumerGroup.info(group)
      // A server that cannot tell the lag just now has not said that there is none.
      const lag = Option.getOrElse(info.lag, () => info.length)
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
        if (killed !== null) {
          progress.say(
            `${killed.name} (pid ${killed.pid}) got SIGKILL; ${killed.pending} entries are pending for it, ` +
              `the other workers take them over`
          )
        }
      }
      yield* Effect.sleep("250 millis")
    }
  })

/** `redelivered`: what the workers had counted by then. */
type Killed = Pick<NonNullable<Outcome["killed"]>, "name" | "pid" | "pending"> & Pick<Outcome, "redelivered">

/**
 * Kills the worker that has the most on its hands, and nobody when none has anything: a death that leaves no entry behind
 * shows nothing. Whoever stands still acks no more, so that what it has does not change between the look and the kill.
 */
const kill = (
  group: ConsumerGroup.ConsumerGroup<InvoiceLine>,
  workers: Workers,
  info: ConsumerGroup.Info,
  expected: Set<WorkerProcess.WorkerProcess>
): Effect.Effect<Killed | null, RedisError, Redis> =>
  Effect.scoped(Effect.gen(function*() {
    const pendingOf = ({ name }: WorkerProcess.WorkerProcess, { consumers }: ConsumerGroup.Info) =>
      consumers.find((consumer) => consumer.name === name)?.pending ?? 0
    const victim = workers.reduce((most, worker) => pendingOf(worker, info) > pendingOf(most, info) ? worker : most)
    if (pendingOf(victim, info) === 0) return null
    yield* victim.frozen
    if (pendingOf(victim, yield* ConsumerGroup.info(group)) === 0) return null
    expected.add(victim)
    yield* victim.kill
    const { redelivered } = total(workers)
    const pending = pendingOf(victim, yield* ConsumerGroup.info(group))
    return { name: victim.name, pid: victim.pid, pending, redelivered }
  }))

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
