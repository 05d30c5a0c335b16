import { expect, it } from "vitest"
import { Job, Turns } from "../src/internal/turns.js"

class Noted extends Job {
  constructor(private readonly turns: Turns, private readonly note: () => void, private readonly atOnce: boolean) {
    super()
  }
  start() {
    this.note()
    if (this.atOnce) this.turns.settle(this)
  }
}

it("tens of thousands of statements that are refused one after another do not exhaust the stack, and keep their order", () => {
  const turns = new Turns()
  const seen: Array<number> = []
  const first = new Noted(turns, () => {}, false)
  turns.take(first)
  for (let i = 0; i < 50_000; i++) turns.take(new Noted(turns, () => seen.push(i), true))
  expect(seen).toEqual([])
  turns.settle(first)
  expect(seen).toEqual(Array.from({ length: 50_000 }, (_, i) => i))
  expect(turns.active).toBe(undefined)
})

it("what is taken while the queue moves on has its turn too, and what has left has none", () => {
  const turns = new Turns()
  const seen: Array<string> = []
  const first = new Noted(turns, () => {}, false)
  const gone = new Noted(turns, () => seen.push("gone"), true)
  const last = new Noted(turns, () => seen.push("last"), true)
  turns.take(first)
  turns.take(new Noted(turns, () => turns.take(last), true))
  turns.take(gone)
  turns.takeNext(new Noted(turns, () => seen.push("next"), true))
  turns.leave(gone)
  turns.settle(first)
  expect(seen).toEqual(["next", "last"])
})
