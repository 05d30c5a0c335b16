/**
 * What is compared: cases, and in each of them contenders that do the same work in ways of their own.
 *
 * A contender runs in a process of its own. It connects, does a smaller job to be warm, and then the job that is measured;
 * both are verified, and a run that is found wrong does not count.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"

/**
 * Where a contender works: a fresh database, and names on Redis that nobody else uses.
 *
 * @since 0.1.0
 * @category models
 */
export interface Place {
  readonly mysqlUrl: string
  readonly redisUrl: string
  /** What every key on Redis begins with. */
  readonly prefix: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Job {
  /** The name of its stream or queue. */
  readonly name: string
  /** How many messages, or operations. */
  readonly count: number
}

/**
 * A contender that is connected.
 *
 * @since 0.1.0
 * @category models
 */
export interface Running {
  /** Puts there what the job begins with. Not measured. */
  readonly prepare: (job: Job) => Effect.Effect<void, unknown>
  /** What is measured. Answers with the milliseconds of each operation, where those are what the case is about. */
  readonly run: (job: Job) => Effect.Effect<ReadonlyArray<number>, unknown>
  /** What is wrong after these jobs, a sentence each. */
  readonly verify: (jobs: ReadonlyArray<Job>) => Effect.Effect<ReadonlyArray<string>, unknown>
}

/**
 * A target as it was set: this contender's figure, divided by that of another one in the same round.
 *
 * @since 0.1.0
 * @category models
 */
export interface Target {
  readonly than: string
  /** Of operations a second. */
  readonly atLeast?: number | undefined
  /** Of the median latency. */
  readonly atMost?: number | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Contender {
  readonly name: string
  readonly targets?: ReadonlyArray<Target> | undefined
  /** How many times the case's count it does, since it is so much faster or slower; 1 by default. */
  readonly times?: number | undefined
  readonly start: (place: Place) => Effect.Effect<Running, unknown, Scope>
}

/**
 * How much is done: for figures, for a look, and for a test that it works at all.
 *
 * @since 0.1.0
 * @category models
 */
export type Size = "full" | "quick" | "smoke"

/**
 * @since 0.1.0
 * @category models
 */
export interface Case {
  /** Unique, and what `--filter` looks at: `transactional, concurrency 8`. */
  readonly name: string
  readonly about: string
  /** `messages`, `transactions`. */
  readonly unit: string
  /** Whether the latency of each operation is what is compared, in place of the throughput. */
  readonly latency: boolean
  readonly count: Readonly<Record<Size, number>>
  /** Left out where it takes too long for a look. */
  readonly quick: boolean
  /** The contender that all others are divided by. */
  readonly baseline: string
  readonly contenders: ReadonlyArray<Contender>
}

/**
 * What one run of one contender came to.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sample {
  readonly count: number
  readonly seconds: number
  /** Microseconds of processor time for each operation; null for a server whose process cannot be seen. */
  readonly cpu: Readonly<Record<"node" | "mysqld" | "redis", number | null>>
  readonly maxRssMegabytes: number
  /** Milliseconds. */
  readonly latency: { readonly p50: number; readonly p99: number } | null
  readonly problems: ReadonlyArray<string>
}

/**
 * The parts of `count` that a contender does in this size: the job that warms it up, and the one that is measured.
 *
 * @since 0.1.0
 * @category accessors
 */
export const jobs = (of: Case, contender: Contender, size: Size, place: Place): readonly [Job, Job] => {
  const count = Math.max(1, Math.round(of.count[size] * (contender.times ?? 1)))
  return [
    { name: `${place.prefix}:warm`, count: Math.max(1, Math.min(Math.ceil(count / 4), warmUpAtMost)) },
    { name: `${place.prefix}:job`, count }
  ]
}

// internal

const warmUpAtMost = 5_000
