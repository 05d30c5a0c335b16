import { expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { nth } from "../src/internal/retryDelay.js"

const days = (schedule: Schedule.Schedule<unknown, unknown>, attempt: number) =>
  Effect.map(nth(schedule, attempt), Option.map(Duration.toDays))

it.effect("L24: the delay of a growing schedule never shrinks, however often a message was delivered", () =>
  Effect.gen(function*() {
    const century = Option.some(36_500)
    for (const attempt of [60, 1_022, 1_023, 1_024, 1_025, 1_026, 9_999, 20_000, Number.MAX_SAFE_INTEGER]) {
      expect(yield* days(Schedule.exponential("1 second"), attempt)).toEqual(century)
      expect(yield* days(Schedule.exponential("1 milli", 10), attempt)).toEqual(century)
    }
    expect(yield* days(Schedule.fibonacci("1 second"), 2_000)).toEqual(century)
    expect(yield* days(Schedule.spaced(Duration.infinity), 2)).toEqual(century)
    expect(yield* days(Schedule.spaced("30 days"), 3)).toEqual(Option.some(30))
    expect(yield* days(Schedule.intersect(Schedule.exponential("1 second"), Schedule.recurs(1_500)), 1_501)).toEqual(
      Option.none()
    )
  }))
