/**
 * What is compared: cases, and in each of them contenders that do the same work in ways of their own.
 *
 * A contender runs in a process of its own. It connects, does a smaller job to be warm, and then the jobs that are measured;
 * all are verified, and a run that is found wrong does not count.
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
  /** Processes that do the work, where it is not this one: their processor time and memory count. */
  readonly workers?: ReadonlyArray<number> | undefined
}

/**
 * What a target is about: operations a second, a latency, the time or Node's processor time of an operation, or the peak of
 * memory.
 *
 * @since 0.1.0
 * @category models
 */
export type Figure = "throughput" | "p50" | "p99" | "time" | "CPU" | "memory"

/**
 * A target as it was set: this contender's figure, divided by that of another one in the same round.
 *
 * @since 0.1.0
 * @category models
 */
export interface Target {
  readonly of: Figure
  readonly than: string
  readonly atLeast?: number | undefined
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
  /** Left out of a look, unless a filter names it. */
  readonly notQuick?: boolean | undefined
  /** Operations of one read or transaction; 64 by default. Round trips are counted over as many, and twice as many. */
  readonly batch?: number | undefined
  /** A module of `src/`, without its suffix, that its process loads before all others. */
  readonly preload?: string | undefined
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
  /** What the table compares first. Of `time` it is told how it grows. */
  readonly compares: "throughput" | "p50" | "time"
  readonly count: Readonly<Record<Size, number>>
  /** How many warm a process up for figures, where what is measured is shorter than what the compiler needs to see. */
  readonly warmUp?: number | undefined
  /** Left out where it takes too long for a look. */
  readonly quick: boolean
  /**
   * Into how many slices a run is cut; one by default. The processes of a round are then there at the same time and take
   * turns slice by slice, so that a busy second of the machine, or of its disk, meets all of them. It begins and ends with its own
   * stream: make it long enough that this does not count.
   */
  readonly slices?: number | undefined
  /** Whether the round trips of an operation are counted: not where they depend on who meets whom. */
  readonly roundTrips?: boolean | undefined
  /** The contender that all others are divided by. */
  readonly baseline: string
  readonly contenders: ReadonlyArray<Contender>
}

/**
 * What MySQL waited for, over all its connections: so many at a time, on average.
 *
 * @since 0.1.0
 * @category models
 */
export interface Waits {
  readonly rowLocks: number
  /** For redo log and binary log to be on disk. */
  readonly fsync: number
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
  readonly waits: Waits | null
  readonly problems: ReadonlyArray<string>
}

/**
 * What a contender does in this size: the job that warms it up, and those that are measured, one for each slice. Code that the
 * compiler has not seen often is slow, so even a small job is done by a warm process.
 *
 * @since 0.1.0
 * @category accessors
 */
export const jobs = (
  of: Case,
  contender: Contender,
  size: Size,
  place: Place
): { readonly warmUp: Job; readonly measured: ReadonlyArray<Job> } => {
  const count = Math.max(1, Math.round(of.count[size] * (contender.times ?? 1)))
  // All sizes of what grows are equally warm.
  const base = of.compares === "time" ? of.count[size] : count
  const least = of.compares === "time" ? warmUpAtMost : warmUpAtLeast
  const warmUp = size === "smoke"
    ? Math.ceil(base / 4)
    : size === "full" && of.warmUp !== undefined
    ? of.warmUp
    : Math.max(base / 4, Math.min(base, least))
  const slices = Math.min(of.slices ?? 1, size === "full" ? Infinity : 2)
  return {
    warmUp: { name: `${place.prefix}:warm`, count: Math.ceil(Math.min(warmUp, warmUpAtMost)) },
    measured: Array.from({ length: slices }, (_, at) => ({
      name: `${place.prefix}:job-${at}`,
      count: Math.ceil(count / slices)
    }))
  }
}

// internal

const warmUpAtLeast = 5_000
const warmUpAtMost = 10_000
