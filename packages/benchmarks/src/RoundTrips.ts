/**
 * What an operation costs on the network, counted by a proxy in front of each server: exact on every machine. It is the difference
 * of two jobs, one of a batch and one of two, so connections, prepared statements and the last read are not in it.
 *
 * @since 0.1.0
 */
import type * as MysqlServer from "@safesync/testkit/MysqlServer"
import type * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Contender } from "./Benchmark.js"
import * as Servers from "./Servers.js"

/**
 * For each operation; pipelined commands are one.
 *
 * @since 0.1.0
 * @category models
 */
export interface RoundTrips {
  readonly mysql: number
  readonly redis: number
}

/**
 * As many operations as the difference has.
 *
 * @since 0.1.0
 * @category accessors
 */
export const batchOf = ({ batch = 64 }: Contender): number => batch

/**
 * @since 0.1.0
 * @category run
 */
export const count = (
  contender: Contender
): Effect.Effect<RoundTrips, unknown, MysqlServer.MysqlServer | RedisServer.RedisServer> =>
  Effect.scoped(Effect.gen(function*() {
    const place = yield* Servers.place
    const mysql = yield* TcpProxy.make(Redacted.make(place.mysqlUrl))
    const redis = yield* TcpProxy.make(Redacted.make(place.redisUrl))
    const through = (proxy: TcpProxy.TcpProxy, url: string) => Redacted.value(proxy.through(Redacted.make(url)))
    const running = yield* contender.start({
      ...place,
      mysqlUrl: through(mysql, place.mysqlUrl),
      redisUrl: through(redis, place.redisUrl)
    })
    const counted = (name: string, count: number) =>
      Effect.gen(function*() {
        const job = { name: `${place.prefix}:${name}`, count }
        yield* running.prepare(job)
        const before = [yield* mysql.counters, yield* redis.counters] as const
        yield* running.run(job)
        const after = [yield* mysql.counters, yield* redis.counters] as const
        return [0, 1].map((at) => after[at]!.roundTrips - before[at]!.roundTrips) as [number, number]
      })
    // On a busy machine a request may be sent before the answer to the one before it has come: both are one round trip then. So a
    // count is too low now and then, and never too high.
    const most = (name: string, count: number) =>
      Effect.map(
        Effect.forEach(["a", "b", "c"], (which) => counted(`${name}-${which}`, count)),
        (counts) =>
          [Math.max(...counts.map(([mysql]) => mysql)), Math.max(...counts.map(([, redis]) => redis))] as const
      )
    const batch = batchOf(contender)
    yield* counted("warm", batch)
    const [once, twice] = [yield* most("once", batch), yield* most("twice", 2 * batch)]
    return { mysql: (twice[0] - once[0]) / batch, redis: (twice[1] - once[1]) / batch }
  }))
