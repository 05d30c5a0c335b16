/** Refusing what can never work, when it is constructed rather than when it is first used. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Timeouts } from "../Redis.js"
import { ConnectFailed, InvalidOptions } from "../RedisError.js"
import { longestMillis, toMillis } from "./duration.js"

export const invalid = (option: string, reason: string): Effect.Effect<never, InvalidOptions> =>
  Effect.fail(new InvalidOptions({ option, reason }))

export const nonEmpty = (option: string, value: string): Effect.Effect<string, InvalidOptions> =>
  value.trim().length === 0
    ? invalid(option, "must not be empty")
    : halfOfAPair.test(value)
    ? invalid(option, "must not hold half of a surrogate pair")
    : Effect.succeed(value)

/** As of an emoji that was cut in two: UTF-8 has the same bytes for all of them. */
export const halfOfAPair: RegExp = /\p{Surrogate}/u

/** At least one millisecond, the finest that the server counts, and finite. */
export const positive = (
  option: string,
  value: Duration.DurationInput
): Effect.Effect<Duration.Duration, InvalidOptions> => {
  const duration = Duration.decodeUnknown(value)
  return Option.isSome(duration) && Duration.toMillis(duration.value) >= 1 && Duration.isFinite(duration.value)
    ? Effect.succeed(duration.value)
    : invalid(option, "must be at least one millisecond, and finite")
}

/** The same in whole milliseconds, as the server counts. */
export const millis = (option: string, value: Duration.DurationInput): Effect.Effect<number, InvalidOptions> =>
  Effect.map(positive(option, value), toMillis)

/** In whole milliseconds, zero included. */
export const age = (option: string, value: Duration.DurationInput): Effect.Effect<number, InvalidOptions> => {
  const duration = Duration.decodeUnknown(value)
  return Option.isSome(duration) && Duration.isFinite(duration.value)
    ? Effect.succeed(toMillis(duration.value))
    : invalid(option, "must be a finite time")
}

export const count = (option: string, value: number): Effect.Effect<number, InvalidOptions> =>
  Number.isSafeInteger(value) && value >= 1 ? Effect.succeed(value) : invalid(option, "must be a whole number from 1")

/** The times of a connection in milliseconds. */
export const limits = (
  timeouts: Timeouts
): Effect.Effect<{ readonly connectTimeout: number; readonly commandTimeout: number }, ConnectFailed> =>
  Effect.mapError(
    Effect.all({
      connectTimeout: timer("connectTimeout", timeouts.connectTimeout ?? Duration.seconds(5)),
      commandTimeout: timer("commandTimeout", timeouts.commandTimeout ?? Duration.seconds(10))
    }),
    (cause) => new ConnectFailed({ command: "connect", detail: cause.message, cause })
  )

// internal

const timer = (option: string, value: Duration.DurationInput): Effect.Effect<number, InvalidOptions> =>
  Effect.map(millis(option, value), (millis) => Math.min(millis, longestMillis))
