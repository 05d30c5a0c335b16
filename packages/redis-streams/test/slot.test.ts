import { assert, layer } from "@effect/vitest"
import * as Redis from "@safesync/redis-streams/Redis"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import { beside } from "../src/internal/slot.js"
import { RedisFromServer } from "./fixture.js"

layer(RedisServer.layerOwn({ args: ["--cluster-enabled", "yes"] }), { excludeTestServices: true })("slot", (it) => {
  it.scoped("what belongs to a stream lives in its slot, whatever braces its name has", () =>
    Effect.gen(function*() {
      const redis = yield* Redis.Redis
      const slot = (key: string) => redis.command("CLUSTER", "KEYSLOT", key)
      for (const stream of ["orders", "{a}b", "a{b}c", "a{b}c{d}", "a}b{c}", "a{b", "a{{b}c", "}{a}", "{", "a{}}b"]) {
        // `a{}}b` and the like have no such name: what is hashed is all of them, and a tag cannot hold a `}`.
        if (stream === "a{}}b") {
          assert.strictEqual(beside(stream, "dead"), "{a{}}b}:dead")
        } else {
          assert.strictEqual(yield* slot(beside(stream, "dead")), yield* slot(stream), stream)
        }
      }
    }).pipe(Effect.provide(RedisFromServer)))
})
