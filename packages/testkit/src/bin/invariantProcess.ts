/**
 * One of the processes of `Invariants`: does the strategy that it is told, and ends when nobody is there to tell it anything.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { createRequire } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"
import * as Messages from "../internal/invariants/messages.js"
import * as strategies from "../internal/invariants/strategies.js"
import type { HotRow, Increment, Insert, NewRow } from "../Invariants.js"

type Task = Extract<Messages.ToProcess, { readonly _tag: "Prepare" }>

process.on("disconnect", () => process.exit(1))
if (!process.connected) process.exit(1)

const heard = Effect.runSync(Queue.unbounded<Messages.ToProcess>())
const decode = Schema.decodeUnknownSync(Messages.ToProcess)
process.on("message", (message) => void Queue.unsafeOffer(heard, decode(message)))

const say = (message: Messages.FromProcess): Effect.Effect<void> =>
  Effect.sync(() => process.connected && process.send!(message))

const rendezvous: Effect.Effect<void> = Effect.zipRight(say({ _tag: "Arrived" }), Effect.asVoid(Queue.take(heard)))

const turn = Effect.async<void>((resume) => void setImmediate(() => resume(Effect.void)))

const think: Effect.Effect<void> = Effect.flatMap(Random.nextIntBetween(0, 4), (times) => Effect.repeatN(turn, times))

const load = async (strategy: Messages.Strategy, builtIn: Readonly<Record<string, unknown>>): Promise<unknown> => {
  if ("builtIn" in strategy) {
    if (strategy.builtIn in builtIn) return builtIn[strategy.builtIn]
    throw new Error(`There is no strategy ${strategy.builtIn}. There are ${Object.keys(builtIn).join(", ")}`)
  }
  if (/\.[cm]?tsx?$/.test(strategy.module) && process.execArgv.length === 0) await registerLoader(strategy.module)
  const module = await import(strategy.module) as Record<string, unknown>
  // All that a CommonJS module exports is the default of what is imported.
  const exported = [module, module["default"] as Record<string, unknown> | undefined]
  const found = exported.map((_) => _?.[strategy.export]).find((_) => typeof _ === "function")
  if (found !== undefined) return found
  throw new Error(`${fileURLToPath(strategy.module)} exports no function ${strategy.export}`)
}

/** Where there is none, node may know TypeScript by itself. Its main module is the loader, and registers itself when it is loaded. */
const registerLoader = async (module: string): Promise<void> => {
  const loader = (() => {
    try {
      return createRequire(module).resolve("tsx")
    } catch {
      return undefined
    }
  })()
  if (loader !== undefined) await import(pathToFileURL(loader).href)
}

const hotRow: HotRow = { table: "hot_row", id: 1, think, rendezvous }

const newRow = (index: number): NewRow => ({ table: "new_row", key: `row ${index}`, think, rendezvous })

/** What one operation does: true when it has inserted a row. */
const operation = (suite: Messages.Suite, strategy: unknown) => (index: number) =>
  suite === "increments"
    ? Effect.as((strategy as Increment)(hotRow), false)
    : Effect.map((strategy as Insert)(newRow(index)), (said) => said === "inserted")

const work = (task: Task, strategy: unknown) =>
  Effect.gen(function*() {
    const run = operation(task.suite, strategy)
    const failures = new Set<string>()
    const counts = { succeeded: 0, inserted: 0, failed: 0 }
    const now = () => performance.timeOrigin + performance.now()
    const from = now()
    for (let index = 0; index < task.operations; index++) {
      const exit = yield* Effect.exit(Effect.suspend(() => run(index)))
      if (exit._tag === "Success") {
        counts.succeeded++
        if (exit.value) counts.inserted++
      } else {
        counts.failed++
        failures.add(Cause.prettyErrors(exit.cause).map(({ message }) => message).join(", "))
      }
    }
    yield* say({ _tag: "Done", ...counts, failures: [...failures], from, to: now() })
  }).pipe(Effect.withRandom(Random.make(task.seed)))

const perform = (task: Task) =>
  Effect.gen(function*() {
    const strategy = yield* Effect.tryPromise({
      try: () => load(task.strategy, strategies[task.suite]),
      catch: (cause) => cause as Error
    })
    const sql = yield* SqlClient
    yield* sql`SELECT 1`
    yield* say({ _tag: "Ready" })
    // Released at once where another process could not get ready.
    if ((yield* Queue.take(heard))._tag === "Release") return
    yield* work(task, strategy)
    yield* Queue.take(heard)
  }).pipe(
    Effect.provide(MysqlClient.layer({ url: Redacted.make(task.url), maxConnections: 3 })),
    Effect.matchCauseEffect({
      onSuccess: () => say({ _tag: "Free" }),
      onFailure: (cause) => say({ _tag: "Refused", reason: Cause.prettyErrors(cause).map(reasonOf).join(", ") })
    })
  )

const reasonOf = (error: Error): string =>
  error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message

Effect.runFork(
  Effect.zipRight(
    say({ _tag: "Started" }),
    Effect.forever(Effect.flatMap(
      Queue.take(heard),
      (message) => message._tag === "Prepare" ? perform(message) : Effect.void
    ))
  )
)
