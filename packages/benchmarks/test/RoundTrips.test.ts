/**
 * What a message costs on the network, counted by a proxy in front of each server: exact on every machine. Two jobs of one
 * length and of twice that length: what their difference leaves out are connections, prepared statements and reads.
 */
import { expect, layer } from "@effect/vitest"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { cases } from "../src/cases.js"
import * as Servers from "../src/Servers.js"

/** As many as are read at a time, so that twice as many are one read more. */
const messages = 64

const roundTrips = (name: string, contender: string) =>
  Effect.gen(function*() {
    const place = yield* Servers.place
    const mysql = yield* TcpProxy.make(Redacted.make(place.mysqlUrl))
    const redis = yield* TcpProxy.make(Redacted.make(place.redisUrl))
    const through = (proxy: TcpProxy.TcpProxy, url: string) => Redacted.value(proxy.through(Redacted.make(url)))
    const running = yield* cases.find((_) => _.name === name)!.contenders.find((_) => _.name === contender)!.start({
      ...place,
      mysqlUrl: through(mysql, place.mysqlUrl),
      redisUrl: through(redis, place.redisUrl)
    })
    const counted = (count: number) =>
      Effect.gen(function*() {
        const job = { name: `${place.prefix}:${count}`, count }
        yield* running.prepare(job)
        const before = [yield* mysql.counters, yield* redis.counters] as const
        yield* running.run(job)
        const after = [yield* mysql.counters, yield* redis.counters] as const
        return [0, 1].map((at) => after[at]!.roundTrips - before[at]!.roundTrips) as [number, number]
      })
    yield* counted(1)
    const [once, twice] = [yield* counted(messages), yield* counted(2 * messages)]
    return { mysql: twice[0] - once[0], redis: twice[1] - once[1] }
  })

layer(Servers.layer, { excludeTestServices: true })("round trips", (it) => {
  it.scoped("Worker.run, a statement in its handler: three of MySQL and one of Redis for each message", () =>
    Effect.gen(function*() {
      // BEGIN with the inbox's insert, the handler's statement, COMMIT; the ack. One read for 64 messages.
      const counted = yield* roundTrips("transactional, concurrency 1", "Worker.run, inbox")
      expect(counted).toEqual({ mysql: 3 * messages, redis: messages + 1 })
    }))

  it.scoped("the hand-written loop: BEGIN is a round trip of its own", () =>
    Effect.gen(function*() {
      const counted = yield* roundTrips("transactional, concurrency 1", "hand-written")
      expect(counted).toEqual({ mysql: 4 * messages, redis: messages + 1 })
    }))
})
