// Runs a program on the server and notes what became of each step.
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Program from "./Program.js"

/** `ok`, the tag of a failure, `die`, `die <tag>` or `interrupt`. */
export type Outcome = string

export interface Observed {
  /** The step itself, or the receipt that each transaction writes first. */
  readonly step: Program.Step | "receipt"
  readonly outcome: Outcome
  /** What a step that reads has seen. */
  readonly value: unknown
  /** What the library holds the transaction for, after the step. */
  readonly phase: string
  readonly millis: number
}

export interface Run {
  readonly log: ReadonlyArray<Observed>
  /** Whether the body came to its end. */
  readonly finished: boolean
  readonly outcome: Outcome
  /** Marks of effects that ran after COMMIT. */
  readonly marks: ReadonlyArray<number>
}

/** What stands around the programs: the server as others see it. */
export interface Bench {
  /** Ends a connection and waits until it is gone. */
  readonly kill: (connectionId: number) => Effect.Effect<void>
  /** Waits until a connection waits for a lock or sleeps in a statement. */
  readonly untilItWaits: (connectionId: number) => Effect.Effect<void>
  /** A table with a row, and a lock's name with its namespace, that somebody else holds throughout. */
  readonly held: { readonly table: string; readonly name: string; readonly namespace: string }
  /** Who is inside of which advisory lock. */
  readonly inside: Map<string, object>
}

export const outcomeOf = (exit: Exit.Exit<unknown, unknown>): Outcome => {
  if (Exit.isSuccess(exit)) return "ok"
  const failure = Cause.failureOption(exit.cause)
  if (Option.isSome(failure)) return tagOf(failure.value) ?? "an error without a tag"
  const defect = Cause.dieOption(exit.cause)
  if (Option.isNone(defect)) return "interrupt"
  const tag = tagOf(defect.value)
  if (tag !== undefined) return `die ${tag}`
  return String(defect.value) === String(boom) ? "die" : `die ${String(defect.value)}`
}

const tagOf = (error: unknown): string | undefined => {
  // Inside of the body a plain statement fails with what stands for it outside.
  const { _tag, reason } = MysqlError.refailError(error) as { readonly _tag?: string; readonly reason?: string }
  return _tag === "TransactionAborted" ? `TransactionAborted ${reason}` : _tag
}

const boom = new Error("boom")

/** Runs one transaction of the fiber, whose rows are `base + 1` to `base + 3`. */
export const execute = (
  program: Program.Program,
  bench: Bench,
  base: number,
  receipt: number
): Effect.Effect<Run, never, MysqlClient | SqlClient> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient
    const log: Array<Observed> = []
    const marks: Array<number> = []
    const held: Array<string> = []
    const me = {}
    let finished = false
    let begun = 0

    const start = (): void => {
      if (program.interrupt !== undefined && program.interrupt.at === begun++) after(program.interrupt.turns)
    }
    const after = (turns: number): void => {
      setImmediate(() => turns > 0 ? after(turns - 1) : fiber.unsafeInterruptAsFork(fiber.id()))
    }

    const noted = <A, E, R>(step: Observed["step"], effect: Effect.Effect<A, E, R>) =>
      Effect.flatMap(Transaction.Transaction, ({ session }) => {
        const from = performance.now()
        return Effect.onExit(effect, (exit) =>
          Effect.sync(() =>
            log.push({
              step,
              outcome: outcomeOf(exit),
              value: Exit.isSuccess(exit) ? exit.value : undefined,
              phase: session.phase._tag,
              millis: performance.now() - from
            })
          ))
      })

    const leave = Effect.sync(() => {
      for (const name of held) if (bench.inside.get(name) === me) bench.inside.delete(name)
    })

    const leaf = (step: Program.Leaf): Effect.Effect<unknown, unknown, Transaction.Transaction> => {
      switch (step._tag) {
        case "Insert":
          return Effect.asVoid(sql`INSERT INTO item VALUES (${base + step.id}, ${step.v})`)
        case "Update":
          return Effect.asVoid(sql`UPDATE item SET v = ${step.v} WHERE id = ${base + step.id}`)
        case "Delete":
          return Effect.asVoid(sql`DELETE FROM item WHERE id = ${base + step.id}`)
        case "Read":
          return sql`SELECT id, v FROM item WHERE id BETWEEN ${base + 1} AND ${base + 3} ORDER BY id`
        case "Tally":
          return Effect.asVoid(sql`UPDATE tally SET n = n + 1 WHERE id = ${step.id}`)
        case "RowLock":
          return Effect.map(
            RowLock.forUpdate({ table: "item", where: { id: base + step.id }, wait: step.wait }),
            Option.getOrNull
          )
        case "AdvisoryLock":
          return Effect.map(AdvisoryLock.acquireInTransaction(step.name, step), () => {
            const other = bench.inside.get(step.name)
            bench.inside.set(step.name, me)
            held.push(step.name)
            return other === undefined || other === me ? "alone" : "not alone"
          })
        case "AfterCommit":
          return Transaction.afterCommit(Effect.sync(() => void marks.push(step.mark)))
        case "SetVariable":
          return Effect.asVoid(sql`SET @history = 1`)
        case "LookAtSession":
          return sql`SELECT @history IS NOT NULL AS history, @@innodb_lock_wait_timeout AS seconds`
        case "Cancelled":
          return Effect.flatMap(Transaction.Transaction, ({ connectionId }) =>
            Effect.raceFirst(inVain(step.what), bench.untilItWaits(connectionId)))
        case "BadStatement":
          return sql`SELECT nonsense`
        case "ImplicitCommit":
          return Effect.asVoid(
            step.by === "create"
              ? sql`CREATE TABLE IF NOT EXISTS item (id INT PRIMARY KEY)`
              : sql.unsafe(step.by === "commit" ? "COMMIT" : "START TRANSACTION").unprepared
          )
        case "KillConnection":
          // Its locks go with it, and whoever gets one next is inside before this body has ended.
          return Effect.flatMap(Transaction.Transaction, ({ connectionId }) =>
            Effect.zipRight(leave, bench.kill(connectionId)))
        case "Fail":
          return Effect.fail({ _tag: "Fail" })
        case "Die":
          return Effect.die(boom)
        case "Interrupt":
          return Effect.interrupt
      }
    }

    const inVain = (what: "sleep" | "row" | "advisory"): Effect.Effect<unknown, unknown, Transaction.Transaction> =>
      what === "sleep"
        ? sql`SELECT SLEEP(30)`
        : what === "row"
        ? RowLock.forUpdate({ table: bench.held.table, where: { id: 1 } })
        : AdvisoryLock.acquireInTransaction(bench.held.name, { timeout: "30 seconds", namespace: bench.held.namespace })

    const run = (step: Program.Step): Effect.Effect<unknown, unknown, Transaction.Transaction> => {
      switch (step._tag) {
        case "Savepoint":
          return noted(step, Transaction.savepoint(all(step.steps)))
        case "Nested":
          return noted(step, sql.withTransaction(all(step.steps)))
        case "Caught":
          return noted(
            step,
            step.what === "failures"
              ? Effect.catchAll(all(step.steps), () =>
                Effect.void)
              : Effect.catchAllDefect(all(step.steps), () =>
                Effect.void)
          )
        default:
          return noted(
            step,
            Effect.suspend(() => {
              start()
              return leaf(step)
            })
          )
      }
    }

    const all = (steps: ReadonlyArray<Program.Step>) =>
      Effect.asVoid(Effect.forEach(steps, run, { discard: true }))

    const body = noted("receipt", Effect.asVoid(sql`INSERT INTO receipt VALUES (${receipt})`)).pipe(
      Effect.zipRight(all(program.steps)),
      Effect.zipRight(Effect.sync(() => {
        finished = true
        if (program.interrupt?.at === "end") after(program.interrupt.turns)
      })),
      // Before COMMIT: from then on the server may give the lock to somebody else.
      Effect.ensuring(leave)
    )

    const options: Transaction.Options = {
      isolation: program.isolation,
      lockWaitTimeout: program.lockWaitTimeout === undefined ? undefined : `${program.lockWaitTimeout} seconds`
    }
    const fiber = yield* Effect.fork(
      program.form === "run"
        ? Transaction.run(body, options)
        : Effect.scoped(Effect.flatMap(Transaction.make(options), (transaction) =>
          Transaction.provide(body, transaction)))
    )
    const exit = yield* Fiber.await(fiber)
    return { log, finished, outcome: outcomeOf(exit), marks }
  })
