import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { Cursor } from "../src/internal/cursor.js"

/** A cursor, and what it has asked of its connection. */
const make = () => {
  const asked: Array<"pause" | "resume"> = []
  const connection = { pause: () => void asked.push("pause"), resume: () => void asked.push("resume") }
  return { asked, cursor: new Cursor<number, string>(connection) }
}
const push = (cursor: Cursor<number, string>, n: number) => {
  for (let i = 0; i < n; i++) cursor.push(i)
}
const length = (chunk: Chunk.Chunk<number>) => chunk.length

describe("cursor", () => {
  it.effect("the connection is paused once while enough rows wait, and goes on when they are taken", () =>
    Effect.gen(function*() {
      const { asked, cursor } = make()
      push(cursor, 511)
      expect(asked).toEqual([])
      push(cursor, 2)
      expect(asked).toEqual(["pause"])
      expect(length(yield* cursor.pull)).toBe(513)
      expect(asked).toEqual(["pause", "resume"])
      push(cursor, 1)
      expect(length(yield* cursor.pull)).toBe(1)
      expect(asked).toEqual(["pause", "resume"])
    }))

  it.effect("rows of one piece come together, to whoever waits", () =>
    Effect.gen(function*() {
      const { cursor } = make()
      const fiber = yield* Effect.fork(cursor.pull)
      yield* Effect.yieldNow()
      push(cursor, 3)
      expect(Chunk.toReadonlyArray(yield* Fiber.join(fiber))).toEqual([0, 1, 2])
    }))

  it.effect("the end comes after the rows, and only the first one counts", () =>
    Effect.gen(function*() {
      const { cursor } = make()
      push(cursor, 2)
      cursor.finish(Effect.fail(Option.some("lost")))
      cursor.finish()
      expect(length(yield* cursor.pull)).toBe(2)
      expect(yield* Effect.flip(cursor.pull)).toEqual(Option.some("lost"))
      const { cursor: other } = make()
      const fiber = yield* Effect.fork(Effect.flip(other.pull))
      yield* Effect.yieldNow()
      other.finish()
      expect(yield* Fiber.join(fiber)).toEqual(Option.none())
    }))

  it.effect("when somebody else waits for the connection, it is not paused any more", () =>
    Effect.gen(function*() {
      const { asked, cursor } = make()
      push(cursor, 512)
      cursor.readRest()
      push(cursor, 1_000)
      expect(asked).toEqual(["pause", "resume"])
      expect(length(yield* cursor.pull)).toBe(1_512)
    }))

  it.effect("when nobody takes the rows any more, they are dropped, and the connection flows", () =>
    Effect.gen(function*() {
      const { asked, cursor } = make()
      push(cursor, 512)
      cursor.discard()
      push(cursor, 1_000)
      cursor.readRest()
      push(cursor, 1_000)
      expect(asked).toEqual(["pause", "resume"])
      cursor.finish()
      expect(yield* Effect.flip(cursor.pull)).toEqual(Option.none())
    }))

  it.effect("whoever is interrupted while waiting is woken no more, and takes no rows from the next one", () =>
    Effect.gen(function*() {
      const { cursor } = make()
      const fiber = yield* Effect.fork(cursor.pull)
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(fiber)
      push(cursor, 1)
      expect(length(yield* cursor.pull)).toBe(1)
    }))
})
