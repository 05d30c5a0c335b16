/**
 * A handler inside its inbox, inside its transaction.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { MysqlError, TransactionAborted } from "@safesync/mysql/MysqlError"
import * as Occ from "@safesync/mysql/Occ"
import * as Transaction from "@safesync/mysql/Transaction"
import type { Delivery } from "@safesync/redis-streams/Delivery"
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type { Scope } from "effect/Scope"
import { LeaseExpired } from "../LeaseExpired.js"
import type { Failure } from "../Worker.js"

export type Environment<R> = Exclude<R, Transaction.Transaction | Scope> | MysqlClient

export interface Options {
  readonly transaction?:
    | (Transaction.Options & { readonly retry?: Schedule.Schedule<unknown, Occ.Retryable> | undefined })
    | undefined
  readonly lease?: Duration.DurationInput | undefined
}

/** What a bracket around a delivery fails with where it was its handler that failed, and not the ack. */
export class HandlerFailed<E> extends Data.Error<{ readonly failure: Cause.Cause<E> }> {}

/**
 * What is run again is the whole of it, in a new transaction. `committed` is called as soon as COMMIT has been answered: an
 * interruption that comes while it is under way hides that it has succeeded.
 */
export const make = ({ lease, transaction }: Options) => {
  const millis = lease === undefined ? undefined : Duration.toMillis(lease)
  return <E, R>(
    body: () => Effect.Effect<unknown, E | SqlError | MysqlError | TransactionAborted, R>,
    committed: () => void
  ): Effect.Effect<void, Failure<E>, Environment<R>> => {
    // Inside the transaction, so that it never comes in between COMMIT and its answer.
    const bounded = millis === undefined ? Effect.suspend(body) : Effect.timeoutFail(Effect.suspend(body), {
      duration: millis,
      onTimeout: () => new LeaseExpired({ millis })
    })
    const attempt = Transaction.run(
      Effect.flatMap(Transaction.Transaction, ({ afterCommit }) => {
        afterCommit.push(Effect.sync(committed))
        return bounded
      }),
      transaction
    ) as Effect.Effect<void, Failure<E>, Environment<R>>
    return transaction?.retry === undefined
      ? attempt
      : Effect.retry(attempt, {
        schedule: transaction.retry as Schedule.Schedule<unknown, unknown>,
        while: Occ.isRetryable
      })
  }
}

/**
 * By what an inbox knows a message. Entry ids are unique in their stream alone, and groups of two streams may share a name. The
 * first slash ends the stream's, so none may be in it: `a/b` of `c` and `a` of `b/c` are two groups.
 *
 * Two streams may share a name as well, on two servers. An id that is an entry's goes with its stream's identity, where that had one
 * before the entry was added: behind a `%@`, which is in no stream's name as it is written here. An id that the sender or the caller
 * has chosen is the message's own wherever it is sent.
 */
export const identity = <A>(
  inbox: "message-id" | ((value: A, delivery: Delivery<A>) => string),
  delivery: Delivery<A>
): { readonly id: string; readonly group: string } => {
  const { born, group, messageId, stream, value } = delivery
  return inbox !== "message-id"
    ? { id: inbox(value, delivery), group: `${escaped(stream)}/${group}` }
    : { id: messageId, group: `${escaped(stream)}${born === undefined ? "" : `%@${escaped(born)}`}/${group}` }
}

const escaped = (name: string): string => /[%/]/.test(name) ? name.replaceAll("%", "%25").replaceAll("/", "%2F") : name
