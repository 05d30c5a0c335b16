/**
 * Giving an entry back, so that anybody can take it at once. A server with XNACK makes it nobody's, and the next read that
 * claims brings it before what is new; on others it stays its consumer's, aged, and is `Reclaim`'s to find.
 */
import * as Effect from "effect/Effect"
import type { Service } from "../Redis.js"
import type { RedisError } from "../RedisError.js"
import type { Capabilities } from "./capabilities.js"

/** For `hold`: the new owner, and the idle time. */
export const givenBack = (
  { consumer, minIdle, redis }: { readonly redis: Service; readonly consumer: string; readonly minIdle: number }
): Effect.Effect<readonly [owner: string, idle: string], RedisError> =>
  Effect.map(redis.capabilities, (able) => able.has("release") ? [nobody, "0"] : [consumer, String(minIdle)])

/** What XREADGROUP is told, so that it brings what was given back, and what has been idle for so many milliseconds, if that is wanted. */
export const claimOption = (able: Capabilities, minIdle: number | undefined): ReadonlyArray<string> =>
  minIdle !== undefined && able.has("claiming-read")
    ? ["CLAIM", String(minIdle)]
    : able.has("release")
    ? ["CLAIM", onlyReleased]
    : []

// internal

/** As an owner: XNACK. */
const nobody = ""

/** Milliseconds. What is nobody's has been idle since 1970 for CLAIM, and nothing that somebody holds can be so for thirty years. */
const onlyReleased = "1000000000000"
