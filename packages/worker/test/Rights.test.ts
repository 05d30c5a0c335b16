import { expect, layer } from "@effect/vitest"
import * as Outbox from "@safesync/mysql/Outbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as Redis from "@safesync/redis-streams/Redis"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as OutboxRelay from "@safesync/worker/OutboxRelay"
import * as Worker from "@safesync/worker/Worker"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as fs from "node:fs"
import { balance, bench, credit, one, Payment, payments, plain, Servers, source, until, worked } from "./fixture.js"

const guide = fs.readFileSync(new URL("../../redis-streams/README.md", import.meta.url), "utf8")
const granted = /grant `([^`]+)`/.exec(guide)![1]!.split(" ")

layer(Servers, { excludeTestServices: true })("the rights that the guide of redis-streams names", (it) => {
  it.effect("are enough for a relay and a worker", () =>
    bench(Effect.gen(function*() {
      const { group, stream } = yield* payments()
      yield* Outbox.migration
      const admin = yield* Redis.Redis
      const url = new URL(Redacted.value((yield* RedisServer.RedisServer).url))
      url.username = `app-${stream}`
      url.password = "secret"
      const keys = [`~${stream}`, `~{${stream}}:*`]
      yield* admin.command("ACL", "SETUSER", url.username, "reset", "on", ">secret", ...keys, ...granted)
      yield* Effect.addFinalizer(() => Effect.ignore(admin.command("ACL", "DELUSER", url.username)))
      yield* Transaction.run(Outbox.append({ stream, schema: Payment, value: one, key: "1" }))
      const limited = Redis.layer({ url: Redacted.make(url.href) })
      const relay = OutboxRelay.run({ poll: Schedule.spaced("20 millis") })
      const worker = Worker.run(source(group, "a"), credit, plain)
      const both = yield* Effect.fork(
        Effect.provide(Effect.all([relay, worker], { concurrency: 2, discard: true }), limited)
      )
      yield* Effect.raceFirst(until(balance(1), (pence) => pence === one.pence), Fiber.join(both))
      yield* worked(group)
      yield* Fiber.interrupt(both)
      expect(yield* balance(1)).toBe(1)
    })))
})
