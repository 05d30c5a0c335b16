/**
 * The kinds of transfers: one for each way in which a transaction can be written with this library, and with plain `sql` inside it.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Occ from "@safesync/mysql/Occ"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Bank from "./Bank.js"
import type { Pen, Written } from "./Pen.js"
import { kinds as readingKinds } from "./ReadingKinds.js"
import { defect, Refused } from "./TransferError.js"

/**
 * The accounts of a kind are of the set that it protects in its own way.
 *
 * @since 0.1.0
 * @category kinds
 */
export const kinds = {
  ...readingKinds,
  "plain updates": ({ leg, number, random, transact }: Pen): Written => {
    const one = leg("rows", 1)
    return {
      legs: [one],
      run: transact(Bank.move(number, one), {
        isolation: random.pick(["read-committed", "repeatable-read", undefined])
      })
    }
  },
  "rows locked in order": ({ leg, number, transact }: Pen): Written => {
    const one = leg("rows", 1)
    return {
      legs: [one],
      run: transact(Effect.flatMap(
        RowLock.forUpdateMany({ table: "account", key: "id", values: [one.debit, one.credit] }),
        (rows) => {
          const balance = (id: number) => rows.find((row) => row["id"] === id)!["balance"]
          return Bank.write(number, one, { debit: balance(one.debit), credit: balance(one.credit) })
        }
      ))
    }
  },
  "rows locked crosswise": ({ leg, number, random, transact }: Pen): Written => {
    const one = leg("rows", 1)
    const wait = random.pick<RowLock.Wait>(["wait", "wait", "nowait", "skip-locked", "30 millis", "2 seconds"])
    const locked = (id: number) =>
      Effect.flatMap(
        RowLock.forUpdate({ table: "account", where: { id }, wait }),
        (row) => row._tag === "Some" ? Effect.succeed(row.value["balance"]) : Effect.fail(new Refused())
      )
    return {
      legs: [one],
      run: transact(Effect.flatMap(
        Effect.all({ debit: locked(one.debit), credit: locked(one.credit) }),
        (balances) => Bank.write(number, one, balances)
      ))
    }
  },
  "advisory locks in the transaction": ({ leg, number, random, transact }: Pen): Written => {
    const one = leg("advisory", 1)
    const ids = [one.debit, one.credit].sort((a, b) => a - b)
    const timeout = random.pick(["5 seconds", "5 seconds", "40 millis", 0] as const)
    return {
      legs: [one],
      run: transact(
        Effect.forEach(ids, (id) => AdvisoryLock.acquireInTransaction(`account/${id}`, { timeout })).pipe(
          Effect.zipRight(Effect.all({ debit: Bank.read(one.debit), credit: Bank.read(one.credit) })),
          Effect.flatMap(({ credit, debit }) =>
            Bank.write(number, one, { debit: debit.balance, credit: credit.balance })
          )
        ),
        { isolation: "read-committed" }
      )
    }
  },
  "an advisory lock around": ({ leg, number, transact }: Pen): Written => {
    const one = leg("around", 1)
    return {
      legs: [one],
      run: Effect.all({ debit: Bank.read(one.debit), credit: Bank.read(one.credit) }).pipe(
        Effect.flatMap(({ credit, debit }) =>
          Bank.write(number, one, { debit: debit.balance, credit: credit.balance })
        ),
        transact,
        AdvisoryLock.withLock("accounts around", { timeout: "5 seconds" })
      )
    }
  },
  "versions": ({ leg, number, transact }: Pen): Written => {
    const one = leg("versions", 1)
    const set = (id: number, account: Bank.Account, by: number) =>
      Occ.update({
        table: "account",
        key: { id },
        version: { column: "version", expected: account.version },
        set: { balance: Number(account.balance) + by }
      })
    return {
      legs: [one],
      run: Effect.all({ debit: Bank.read(one.debit), credit: Bank.read(one.credit) }).pipe(
        Effect.flatMap(({ credit, debit }) =>
          Effect.all([set(one.debit, debit, -one.amount), set(one.credit, credit, one.amount), Bank.book(number, one)])
        ),
        transact,
        Occ.retry(Schedule.intersect(Schedule.jittered(Schedule.exponential("2 millis")), Schedule.recurs(6)))
      )
    }
  },
  "savepoints": ({ leg, number, transact }: Pen): Written => {
    const [one, two, undone, within] = [leg("rows", 1), leg("rows", 2), leg("rows", 3), leg("rows", 4)]
    const kept = Transaction.savepoint(Effect.zipRight(
      Bank.move(number, two),
      Transaction.savepoint(Effect.zipRight(Bank.move(number, within), Effect.fail(new Refused()))).pipe(
        Effect.catchTag("Refused", () => Effect.void)
      )
    ))
    return {
      legs: [one, two],
      run: transact(
        Bank.move(number, one).pipe(
          Effect.zipRight(
            Transaction.savepoint(Effect.zipRight(Bank.move(number, undone), Effect.fail(new Refused()))).pipe(
              Effect.catchTag("Refused", () => Effect.void)
            )
          ),
          Effect.zipRight(kept)
        )
      )
    }
  },
  "sql.withTransaction inside": ({ leg, number, transact }: Pen): Written => {
    const [one, two, undone] = [leg("rows", 1), leg("rows", 2), leg("rows", 3)]
    return {
      legs: [one, two],
      run: transact(Effect.flatMap(SqlClient.SqlClient, (sql) =>
        Bank.move(number, one).pipe(
          Effect.zipRight(
            sql.withTransaction(Effect.zipRight(Bank.move(number, undone), Effect.fail(new Refused()))).pipe(
              Effect.catchTag("Refused", () => Effect.void)
            )
          ),
          Effect.zipRight(sql.withTransaction(sql.withTransaction(Bank.move(number, two))))
        )))
    }
  },
  "a slow statement": ({ leg, number, random, transact }: Pen): Written => {
    const one = leg("rows", 1)
    const slow = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT SLEEP(${random.between(1, 60) / 1000})`)
    return {
      legs: [one],
      run: transact(
        Effect.all([
          Bank.change(one.debit, -one.amount),
          slow,
          Bank.change(one.credit, one.amount),
          slow,
          Bank.book(number, one)
        ])
      )
    }
  },
  "a pause before COMMIT": ({ leg, number, random, transact }: Pen): Written => {
    // Nothing is on its way when the connection dies: it is COMMIT that must know.
    const one = leg("rows", 1)
    return { legs: [one], run: transact(Effect.zipRight(Bank.move(number, one), Effect.sleep(random.between(1, 200)))) }
  },
  "statements given up": ({ leg, number, random, transact }: Pen): Written => {
    // Interruptions inside the body, which goes on: the kill must hit what was given up and nothing else.
    const one = leg("rows", 1)
    const givenUp = (effect: Effect.Effect<unknown, unknown, SqlClient.SqlClient | Transaction.Transaction>) =>
      Effect.timeoutOption(effect, random.number() ** 2 * 20)
    const slow = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT SLEEP(${random.between(0, 10) / 1000})`)
    const held = RowLock.forUpdate({ table: "account", where: { id: one.credit } })
    return {
      legs: [one],
      run: transact(
        Effect.all([
          givenUp(slow),
          Bank.change(one.debit, -one.amount),
          givenUp(slow),
          givenUp(held),
          Bank.change(one.credit, one.amount),
          givenUp(slow),
          Bank.book(number, one)
        ])
      )
    }
  },
  "statements side by side": ({ leg, number, transact }: Pen): Written => {
    const legs = [1, 2, 3].map((n) => leg("rows", n))
    return { legs, run: transact(Effect.forEach(legs, (one) => Bank.move(number, one), { concurrency: "unbounded" })) }
  },
  "the Scope form": ({ leg, number, options, traced }: Pen): Written => {
    // Its finalizer cannot fail: an error of COMMIT is a defect.
    const one = leg("rows", 1)
    return {
      legs: [one],
      run: Effect.scoped(Effect.flatMap(
        Transaction.make(options),
        (transaction) => Transaction.provide(traced(Bank.move(number, one)), transaction)
      ))
    }
  },
  "with options": ({ leg, number, random, transact }: Pen): Written => {
    const one = leg("rows", 1)
    return {
      legs: [one],
      run: transact(Bank.move(number, one), {
        isolation: random.pick(["serializable", "read-committed", "read-uncommitted"]),
        accessMode: "read-write",
        lockWaitTimeout: "7 seconds"
      })
    }
  },
  "a changed session": ({ leg, number, random, transact }: Pen): Written => {
    const one = leg("rows", 1)
    const soil = Effect.flatMap(SqlClient.SqlClient, (sql) =>
      random.pick<Effect.Effect<unknown, unknown>>([
        sql`SET SESSION sort_buffer_size = 1000000`,
        sql`SET @chaos = 1`,
        sql`CREATE TEMPORARY TABLE chaos_temporary (id INT)`,
        sql`SELECT GET_LOCK(CONCAT(DATABASE(), '.soiled'), 1)`
      ]))
    return { legs: [one], run: transact(Effect.zipRight(soil, Bank.move(number, one))) }
  },
  "with the inbox": ({ leg, number, transact }: Pen): Written => {
    const one = leg("rows", 1)
    return { legs: [one], run: transact(Inbox.once(`transfer-${number}`, "bank")(Bank.move(number, one))) }
  },
  "fails": ({ leg, number, transact }: Pen): Written => {
    const one = leg("rows", 1)
    return { legs: [], run: transact(Effect.zipRight(Bank.move(number, one), Effect.fail(new Refused()))) }
  },
  "dies": ({ leg, number, transact }: Pen): Written => {
    const one = leg("rows", 1)
    return { legs: [], run: transact(Effect.zipRight(Bank.move(number, one), Effect.die(defect))) }
  }
} satisfies Record<string, (pen: Pen) => Written>
