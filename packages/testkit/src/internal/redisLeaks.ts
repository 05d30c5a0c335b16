import * as Effect from "effect/Effect"
import * as RedisConnection from "./redisConnection.js"

/** How many entries are pending for whom; nothing where there is no such stream or group. */
export const pendingByConsumer = (redis: RedisConnection.Redis, stream: string, group: string) =>
  RedisConnection.call(redis, "XPENDING", stream, group).pipe(
    Effect.map((reply) => {
      const [total, , , owned] = reply as [number, unknown, unknown, ReadonlyArray<readonly [string, string]> | null]
      const consumers = (owned ?? []).map(([name, count]) => [name, Number(count)] as const)
      // XNACK (Redis 8.8) leaves entries without an owner.
      const unowned = consumers.reduce((left, [, count]) => left - count, Number(total))
      return unowned > 0 ? [...consumers, ["nobody", unowned] as const] : consumers
    }),
    Effect.catchIf((error) => error.message.startsWith("NOGROUP"), () => Effect.succeed([]))
  )

/** Clients whose name begins so and who wait for something, by their ids. */
export const blockedClients = (redis: RedisConnection.Redis, prefix: string) =>
  Effect.map(RedisConnection.call(redis, "CLIENT", "LIST"), (list) =>
    String(list).split("\n").flatMap((line) => {
      const field = (key: string) => new RegExp(`(?:^| )${key}=(\\S*)`).exec(line)?.[1]
      const name = field("name")
      // a name has no spaces: they were replaced
      return name?.startsWith(prefix.replace(/[^!-~]/g, "_")) === true && field("flags")?.includes("b") === true
        ? [field("id")!]
        : []
    }))
