/** A reserved connection for reads that block, which can be woken up without losing what they bring. */
import * as Effect from "effect/Effect"
import { isOfCommand, type RedisError } from "../RedisError.js"
import type { Connection } from "./connection.js"
import * as duration from "./duration.js"

export interface Blocking {
  /**
   * Sends a read that blocks for up to `block` milliseconds, and behind it, in the same packet, GET of a key if there is one.
   * `arrive` is called with both replies, strings as bytes, as soon as they are here, also when the fiber was interrupted in the
   * meantime: an interrupted read is woken up, and its reply waited for.
   */
  readonly read: (
    name: string,
    args: ReadonlyArray<string>,
    block: number,
    arrive: (reply: unknown, value: unknown) => void,
    key?: string | undefined
  ) => Effect.Effect<void, RedisError>
  /** Whether it can still be read from, as far as this side knows. */
  readonly isOpen: () => boolean
}

/**
 * `peer` is another connection to the same server: the one that blocks cannot be asked to wake itself up. `name` is what
 * CLIENT LIST shows for it.
 */
export const blocking = (own: Connection, peer: Connection, name: string): Effect.Effect<Blocking, RedisError> =>
  Effect.all([
    // Without an id it cannot be woken up, and is closed instead.
    Effect.catchIf(own.command("CLIENT", ["ID"]), isOfCommand, () => Effect.succeed(undefined)),
    Effect.catchIf(own.command("CLIENT", ["SETNAME", name.replace(/[^!-~]/g, "_")]), isOfCommand, () => Effect.void)
  ], { concurrency: "unbounded" }).pipe(
    Effect.map(([id]) => id),
    Effect.map((id) => ({
      isOpen: () => own.client.status === "ready",
      read: (name, args, block, arrive, key) =>
        Effect.async<void, RedisError>((resume) => {
          let replied = false
          let onReply = () => {}
          let first: { readonly error: RedisError | undefined; readonly reply: unknown } | undefined
          const over = (failed: RedisError | undefined, reply: unknown, value: unknown) => {
            replied = true
            // An operator has ended the wait, which has brought nothing.
            const unblocked = failed?._tag === "CommandFailed" && failed.code === "UNBLOCKED"
            const error = unblocked ? undefined : failed
            if (error === undefined) {
              arrive(unblocked ? null : reply, value)
            }
            resume(error === undefined ? Effect.void : Effect.fail(error))
            onReply()
          }
          own.together(() => {
            own.run(name, args, (error, reply) => {
              first = { error, reply }
              if (key === undefined) over(error, reply, null)
            }, { blocking: block, bytes: true })
            if (key !== undefined) {
              own.run("GET", [key], (error, value) => over(first!.error ?? error, first!.reply, value), { bytes: true })
            }
          })
          return Effect.suspend(() =>
            replied ? Effect.void : Effect.async<void>((done) => {
              const stopWaking = id === undefined ? () => {} : wake(peer, String(id), () => own.destroy())
              const limit = duration.later(() => own.destroy(), id === undefined ? 0 : wakeLimit)
              onReply = () => {
                stopWaking()
                clearTimeout(limit)
                done(Effect.void)
              }
            })
          )
        })
    }))
  )

// internal

/** Milliseconds after which a read that does not wake up is closed. What it brought then stays pending. */
const wakeLimit = 1000

/** Says it again until it is heard: the wake-up may overtake the read, which goes over another connection. */
const wake = (peer: Connection, id: string, onFailure: () => void): () => void => {
  const unblock = () =>
    peer.run("CLIENT", ["UNBLOCK", id], (error) => {
      if (error !== undefined) {
        onFailure()
      }
    })
  unblock()
  const again = setInterval(unblock, 5)
  return () => clearInterval(again)
}
