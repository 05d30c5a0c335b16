import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { Redis } from "ioredis"

export type { Redis }

/** A failure of the driver, as little of it as is needed. `message` is the server's or the system's own text. */
export class RedisRefused extends Data.TaggedError("RedisRefused")<{
  readonly code: string | undefined
  readonly message: string
}> {}

const refused = (cause: unknown): RedisRefused => {
  const { code, message } = cause as { code?: string; message?: string }
  return new RedisRefused({ code, message: message ?? String(cause) })
}

/** One connection of our own that never reconnects. `ca`: what a server's certificate may be signed by, beside the usual. */
export const connect = (
  url: Redacted.Redacted<string>,
  ca?: string | undefined
): Effect.Effect<Redis, RedisRefused, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() =>
      new Redis(Redacted.value(url), {
        lazyConnect: true,
        connectTimeout: 5_000,
        commandTimeout: 15_000,
        retryStrategy: () => null,
        maxRetriesPerRequest: 0,
        enableOfflineQueue: false,
        ...(ca === undefined ? {} : { tls: { ca } })
      })
    ),
    (redis) => Effect.sync(() => redis.disconnect())
  ).pipe(
    Effect.tap((redis) =>
      Effect.async<void, RedisRefused>((resume) => {
        // the first failure names the cause, the ones after it only that the connection is closed
        redis.on("error", (cause) => resume(refused(cause)))
        redis.connect().then(() => resume(Effect.void), (cause) => resume(refused(cause)))
      })
    )
  )

/** Sends one command. */
export const call = (
  redis: Redis,
  command: string,
  ...args: ReadonlyArray<string>
): Effect.Effect<unknown, RedisRefused> =>
  Effect.tryPromise({ try: () => redis.call(command, ...args), catch: refused })
