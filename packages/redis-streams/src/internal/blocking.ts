/** A reserved connection for reads that block, which can be woken up without losing what they bring. */
import * as Effect from "effect/Effect"
import type { RedisError } from "../RedisError.js"
import type { Connection } from "./connection.js"

export interface Blocking {
  /**
   * Sends a read that blocks for up to `block` milliseconds. `arrive` is called with the reply, strings as bytes, as soon as it is here,
   * also when the fiber was interrupted in the meantime: an interrupted read is woken up, and its reply waited for.
   */
  readonly read: (
    name: string,
    args: ReadonlyArray<string>,
    block: number,
    arrive: (reply: unknown) => void
  ) => Effect.Effect<void, RedisError>
}

/**
 * `peer` is another connection to the same server: the one that blocks cannot be asked to wake itself up. `name` is what
 * CLIENT LIST shows for it.
 */
export const blocking = (own: Connection, peer: Connection, name: string): Effect.Effect<Blocking, RedisError> =>
  own.commands([["CLIENT", "ID"], ["CLIENT", "SETNAME", name.replace(/[^!-~]/g, "_")]]).pipe(
    Effect.map(([id]) => id),
    // Without an id it cannot be woken up, and is closed instead.
    Effect.catchTag("NoPermission", () => Effect.succeed(undefined)),
    Effect.map((id) => ({
      read: (name, args, block, arrive) =>
        Effect.async<void, RedisError>((resume) => {
          let replied = false
          let onReply = () => {}
          own.run(name, args, (error, reply) => {
            replied = true
            if (error === undefined) {
              arrive(reply)
            }
            resume(error === undefined ? Effect.void : Effect.fail(error))
            onReply()
          }, { blocking: block, bytes: true })
          return Effect.suspend(() =>
            replied ? Effect.void : Effect.async<void>((done) => {
              const stopWaking = id === undefined ? () => {} : wake(peer, String(id), () => own.destroy())
              const limit = setTimeout(() => own.destroy(), id === undefined ? 0 : wakeLimit)
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
