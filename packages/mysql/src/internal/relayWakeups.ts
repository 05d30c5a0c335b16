/**
 * Wakes the relays of this process when a transaction has committed messages for them.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type { Scope } from "effect/Scope"
import * as Transaction from "../Transaction.js"

/** A queue of at most one, which has something when messages were committed since it was last taken from. */
export const listen = (client: MysqlClient): Effect.Effect<Queue.Dequeue<void>, never, Scope> =>
  Effect.acquireRelease(
    Effect.tap(Queue.sliding<void>(1), (queue) => Effect.sync(() => relaysOf(client).add(queue))),
    (queue) => Effect.zipRight(Effect.sync(() => relaysOf(client).delete(queue)), Queue.shutdown(queue))
  )

export const afterCommit = (transaction: Transaction.Transaction): Effect.Effect<void> => {
  const listening = relays.get(transaction.client)
  return listening === undefined || listening.size === 0
    ? Effect.void
    : Effect.provideService(
      Transaction.afterCommit(Effect.sync(() => {
        for (const queue of listening) Queue.unsafeOffer(queue, undefined)
      })),
      Transaction.Transaction,
      transaction
    )
}

// internal

const relays = new WeakMap<MysqlClient, Set<Queue.Queue<void>>>()

const relaysOf = (client: MysqlClient): Set<Queue.Queue<void>> => {
  const known = relays.get(client)
  if (known !== undefined) return known
  const made = new Set<Queue.Queue<void>>()
  relays.set(client, made)
  return made
}
