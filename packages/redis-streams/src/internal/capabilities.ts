/**
 * What the server can do, asked by command and not by version: forks count their versions differently. It is asked again
 * on every new connection, since a failover may lead to another version.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { type RedisError, ServerTooOld } from "../RedisError.js"
import type { Connection } from "./connection.js"

export type Capability =
  /** XAUTOCLAIM, in the form that tells which entries are deleted (7.0). */
  | "auto-claim"
  /** XPENDING … IDLE (6.2). */
  | "pending-idle"
  /** XTRIM … MINID (6.2). */
  | "trim-min-id"
  /** XADD … ACKED (8.2). */
  | "trim-acked"

export type Capabilities = ReadonlySet<Capability>

/** Capabilities that are ignored: how tests run the ways of older servers on a newer one. */
export class Without extends Context.Reference<Without>()("@safesync/redis-streams/Without", {
  defaultValue: (): Capabilities => new Set()
}) {}

/** Remembers the answer for as long as the connection lives. */
export const capabilities = (
  connection: Connection
): Effect.Effect<Effect.Effect<Capabilities, RedisError>> =>
  Effect.map(Without, (without) => {
    let known: Capabilities | undefined
    connection.client.on("close", () => {
      known = undefined
    })
    return Effect.suspend(() =>
      known !== undefined ? Effect.succeed(known) : Effect.map(ask(connection), (found) => {
        known = new Set([...found].filter((capability) => !without.has(capability)))
        return known
      })
    )
  })

// internal

const ask = (connection: Connection): Effect.Effect<Set<Capability>, RedisError> =>
  connection.command("COMMAND", ["INFO", "XREADGROUP", "XAUTOCLAIM", "XACKDEL"]).pipe(
    Effect.flatMap((reply) => {
      const [readGroup, autoClaim, ackDel] = reply as ReadonlyArray<ReadonlyArray<unknown> | null>
      const found = new Set<Capability>()
      if (readGroup === null) {
        return Effect.fail(new ServerTooOld({ command: "XREADGROUP", detail: "the server has no consumer groups" }))
      }
      if (autoClaim) {
        // All three of the stream commands' options of 6.2 came together.
        found.add("pending-idle").add("trim-min-id")
        // Since 7.0 the server describes a command's key specifications and subcommands after its seven old elements;
        // nothing else tells that XAUTOCLAIM reports deleted entries.
        if (autoClaim.length > 7) {
          found.add("auto-claim")
        }
      }
      if (ackDel) {
        // It came together with the options that say what trimming does with entries that a group still needs.
        found.add("trim-acked")
      }
      return Effect.succeed(found)
    }),
    // A user who may not ask gets the ways that work everywhere.
    Effect.catchTag("NoPermission", () => Effect.succeed(new Set<Capability>()))
  )
