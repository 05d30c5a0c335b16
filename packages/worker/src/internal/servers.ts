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

  private constructor(readonly askMysql: Asked, private readonly askRedis: Asked) {}

  static readonly make: Effect.Effect<Servers> = Effect.zipWith(
    Effect.serviceOption(MysqlClient),
    Effect.serviceOption(Redis.Redis),
    (client, redis) =>
      new Servers(
        Option.match(client, { onNone: () => unknown, onSome: ofMysql }),
        Option.match(redis, { onNone: () => unknown, onSome: ofRedis })
      )
  )

  /** Asks both again and again. */
  readonly watch: Effect.Effect<never> = Effect.forever(Effect.suspend(() =>
    Effect.zipRight(
      Effect.sleep(this.mysql.isThere && this.redis.isThere ? seldom : often),
      Effect.zipWith(this.askMysql, this.askRedis, (mysql, redis) => {
        this.mysql.told(mysql)
        this.redis.told(redis)
      }, { concurrent: true })
    )
  ))
}

// internal

const seldom = "5 seconds"
const often = "1 second"
const answerTimeout = "2 seconds"

const unknown: Asked = Effect.succeed(undefined)

/** A question that nobody has asked makes no span. */
const bounded = (asked: Asked): Asked =>
  asked.pipe(
    Effect.disconnect,
    Effect.timeoutTo({ duration: answerTimeout, onSuccess: (why) => why, onTimeout: () => "no answer in time" }),
    Effect.withTracerEnabled(false)
  )

/** Those of Aurora that only read say so in `innodb_read_only`. */
const ofMysql = (client: MysqlClient): Asked =>
  bounded(Effect.matchCause(client.unsafe("SELECT @@GLOBAL.read_only + @@GLOBAL.innodb_read_only").values, {
    onFailure: (cause) =>
      Option.match(MysqlError.origin(Cause.squash(cause)), {
        onNone: () => TraceContext.errorType(cause),
        onSome: (error) => "code" in error ? `${error._tag} (${error.code})` : error._tag
      }),
    onSuccess: ([row]) => Number(row?.[0]) === 0 ? undefined : "it is read-only"
  }))

/** One that refuses the question is there. */
const ofRedis = (redis: Redis.Service): Asked =>
  bounded(Effect.match(redis.command("PING"), {
    onFailure: (error) => isTransient(error) ? error._tag : undefined,
    onSuccess: () => undefined
  }))
