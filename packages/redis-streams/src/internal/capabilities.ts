/**
 * What the server can do, asked by command and not by version: forks count their versions differently. It is asked again
 * on every new connection, since a failover may lead to another version.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { ClusterDown, isOfCommand, isTransient, type RedisError, ServerTooOld } from "../RedisError.js"
import type { Connection } from "./connection.js"

export type Capability =
  /** XAUTOCLAIM, in the form that tells which entries are deleted (7.0). */
  | "auto-claim"
  /** XTRIM … MINID (6.2). */
  | "trim-min-id"
  /** XADD … ACKED (8.2). */
  | "trim-acked"
  /** XREADGROUP … CLAIM (8.4). */
  | "claiming-read"
  /** XADD … IDMP (8.6). */
  | "idempotent-add"
  /** XNACK (8.8), if what it leaves without an owner is also given to whoever reads. */
  | "release"

export type Capabilities = ReadonlySet<Capability>

/** Capabilities that are ignored: how tests run the ways of older servers on a newer one. */
export class Without extends Context.Reference<Without>()("@safesync/redis-streams/Without", {
  defaultValue: (): Capabilities => new Set()
}) {}

/** Remembers the answer for as long as the connection lives; of a cluster, for as long as it has the same masters. */
export const capabilities = (
  connection: Connection
): Effect.Effect<Effect.Effect<Capabilities, RedisError>> =>
  Effect.map(Without, (without) => {
    let known: { readonly able: Capabilities; readonly of: Connection["servers"] } | undefined
    let refused = false
    connection.client.on("close", () => {
      known = undefined
    })
    return Effect.suspend(() => {
      const { servers } = connection
      if (known?.of.length === servers.length && known.of.every((server, i) => server === servers[i])) {
        return Effect.succeed(known.able)
      }
      const onRefusal = Effect.suspend(() => {
        const first = !refused
        refused = true
        return first ? warning : Effect.void
      })
      return Effect.map(ofAll(connection, servers, onRefusal), (found) => {
        const able = new Set([...found].filter((capability) => !without.has(capability)))
        known = { able, of: servers }
        return able
      })
    })
  })

// internal

const warning = Effect.logWarning(
  "The server does not answer COMMAND INFO, so the ways that work on Redis 5.0 are used; grant it with +command|info"
)

/** What each of them can. One that cannot be reached is not asked: when it comes back, it is another connection. */
const ofAll = (
  connection: Connection,
  servers: Connection["servers"],
  onRefusal: Effect.Effect<void>
): Effect.Effect<Capabilities, RedisError> =>
  Effect.flatMap(
    Effect.forEach(servers, (server) => Effect.either(ofOne(connection, server, onRefusal)), {
      concurrency: "unbounded"
    }),
    (answers) => {
      let able: Set<Capability> | undefined
      let failure: RedisError | undefined
      for (const answer of answers) {
        if (answer._tag === "Right") {
          const { right } = answer
          able = able === undefined ? right : new Set([...able].filter((capability) => right.has(capability)))
        } else if (failure === undefined || !isTransient(answer.left)) {
          failure = answer.left
        }
      }
      return able !== undefined && (failure === undefined || isTransient(failure))
        ? Effect.succeed(able)
        : Effect.fail(
          failure ?? new ClusterDown({ command: "COMMAND", detail: "no master of the cluster is known" })
        )
    }
  )

const ofOne = (
  connection: Connection,
  server: Connection["servers"][number],
  onRefusal: Effect.Effect<void>
): Effect.Effect<Set<Capability>, RedisError> =>
  connection.ask(server, "COMMAND", ["INFO", "XREADGROUP", "XAUTOCLAIM", "XACKDEL", "XCFGSET", "XNACK"]).pipe(
    // Where it may not be asked, the ways are used that work everywhere.
    Effect.catchIf(isOfCommand, () => Effect.as(onRefusal, [[]])),
    Effect.flatMap((reply) => {
      const [readGroup, autoClaim, ackDel, configure, nack] = reply as ReadonlyArray<ReadonlyArray<unknown> | null>
      const found = new Set<Capability>()
      if (readGroup === null) {
        return Effect.fail(new ServerTooOld({ command: "XREADGROUP", detail: "the server does not know the command" }))
      }
      if (autoClaim) {
        // Both came with 6.2.
        found.add("trim-min-id")
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
      if (configure) {
        // It says for how long and how many of the ids of IDMP are remembered, and came with it.
        found.add("idempotent-add")
      }
      return Effect.map(ackDel ? claims(connection, server) : Effect.succeed(false), (claims) => {
        if (claims) {
          found.add("claiming-read")
          if (nack) found.add("release")
        }
        return found
      })
    })
  )

/** No command came together with this option of XREADGROUP, but the server describes it to those who may ask. */
const claims = (
  connection: Connection,
  server: Connection["servers"][number]
): Effect.Effect<boolean, RedisError> =>
  connection.ask(server, "COMMAND", ["DOCS", "XREADGROUP"]).pipe(
    Effect.map((reply) => JSON.stringify(reply).includes(`"token","CLAIM"`)),
    Effect.catchIf(isOfCommand, () => Effect.succeed(false))
  )
