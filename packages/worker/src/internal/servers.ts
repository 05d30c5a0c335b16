/**
 * How it stands with the servers of a worker: told by its own work, and asked where it has none.
 *
 * @internal
 */
import { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as Redis from "@safesync/redis-streams/Redis"
import { isTransient } from "@safesync/redis-streams/RedisError"
import * as TraceContext from "@safesync/redis-streams/TraceContext"
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Server } from "../WorkerStatus.js"

/** Why a server does not serve; nothing where it does. */
export type Asked = Effect.Effect<string | undefined>

export class Watched {
  private connected = true
  private since = Date.now()
  private last: { readonly at: number; readonly error: string } | undefined

  told(error: string | undefined): void {
    if (error !== undefined) this.last = { at: Date.now(), error }
    if (this.connected === (error === undefined)) return
    this.connected = error === undefined
    this.since = Date.now()
  }

  get isThere(): boolean {
    return this.connected
  }

  get server(): Server {
    return {
      connected: this.connected,
      since: DateTime.unsafeMake(this.since),
      lastError: Option.map(Option.fromNullable(this.last), ({ at, error }) => ({ at: DateTime.unsafeMake(at), error }))
    }
  }
}

export class Servers {
  readonly mysql = new Watched()
  readonly redis = new Watched()

  private constructor(
    private readonly ofMysql: Asked,
    private readonly ofRedis: Asked,
    /** Whether handlers run, which may have all connections of the pool. */
    private readonly isBusy: () => boolean
  ) {}

  static make(isBusy: () => boolean): Effect.Effect<Servers> {
    return Effect.zipWith(
      Effect.serviceOption(MysqlClient),
      Effect.serviceOption(Redis.Redis),
      (client, redis) =>
        new Servers(
          Option.match(client, { onNone: () => unknown, onSome: ofMysql }),
          Option.match(redis, { onNone: () => unknown, onSome: ofRedis }),
          isBusy
        )
    )
  }

  readonly askMysql: Asked = Effect.suspend(() =>
    Effect.tap(this.ofMysql, (why) => {
      // While handlers run it may be a connection that is waited for; they know whether the server is there.
      if (why !== silent || !this.isBusy()) this.mysql.told(why)
    })
  )

  /** Asks both again and again. */
  readonly watch: Effect.Effect<never> = Effect.forever(Effect.suspend(() =>
    Effect.zipRight(
      Effect.sleep(this.mysql.isThere && this.redis.isThere ? seldom : often),
      Effect.zipWith(this.askMysql, this.ofRedis, (_, why) => this.redis.told(why), { concurrent: true })
    )
  ))
}

// internal

const seldom = "5 seconds"
const often = "1 second"
const answerTimeout = "2 seconds"
const silent = "no answer in time"

const unknown: Asked = Effect.succeed(undefined)

/** A question that nobody has asked makes no span. */
const bounded = (asked: Asked): Asked =>
  asked.pipe(
    Effect.disconnect,
    Effect.timeoutTo({ duration: answerTimeout, onSuccess: (why) => why, onTimeout: () => silent }),
    Effect.withTracerEnabled(false)
  )

/** Those of Aurora that only read say so in `innodb_read_only`. A server that does not know the variable has answered. */
const ofMysql = (client: MysqlClient): Asked =>
  bounded(Effect.matchCause(client.unsafe("SELECT @@GLOBAL.read_only + @@GLOBAL.innodb_read_only").values, {
    onFailure: (cause) => {
      const error = Option.getOrUndefined(MysqlError.origin(Cause.squash(cause)))
      if (error === undefined) return TraceContext.errorType(cause)
      return error._tag === "ConnectionLost" ? `${error._tag} (${error.code})` : undefined
    },
    onSuccess: ([row]) => Number(row?.[0]) > 0 ? "it is read-only" : undefined
  }))

/** One that refuses the question is there. */
const ofRedis = (redis: Redis.Service): Asked =>
  bounded(Effect.match(redis.command("PING"), {
    onFailure: (error) => isTransient(error) ? error._tag : undefined,
    onSuccess: () => undefined
  }))
