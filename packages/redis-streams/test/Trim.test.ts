import { assert, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { Capability } from "../src/internal/capabilities.js"
import { deliveries, freshGroup, Order, order, orders, RedisFromServer, RedisLive, RedisWithout } from "./fixture.js"

layer(RedisLive, { excludeTestServices: true })("Trim and trimAcked", (it) => {
  it.scoped("maxLength keeps so many, exactly if asked for", () =>
    Effect.gen(function*() {
      const { stream } = yield* freshGroup()
      const redis = yield* Redis.Redis
      const exact = yield* StreamProducer.make({
        stream,
        schema: Order,
        trim: { maxLength: 10, exact: true, unacked: "drop" }
      })
      const ids = yield* StreamProducer.sendAll(exact, orders(50))
      const kept = (yield* redis.command("XRANGE", stream, "-", "+")) as Array<[string, unknown]>
      assert.deepStrictEqual(kept.map(([id]) => id), ids.slice(-10))
      const about = yield* StreamProducer.make({ stream, schema: Order, trim: { maxLength: 10, unacked: "drop" } })
      yield* StreamProducer.sendAll(about, orders(1000))
      assert.isBelow((yield* redis.command("XLEN", stream)) as number, 500)
    }))

  it.scoped("maxAge drops what is older; a server that cannot do that says so", () =>
    Effect.gen(function*() {
      const { stream } = yield* freshGroup()
      const redis = yield* Redis.Redis
      yield* redis.command("DEL", stream)
      yield* redis.command("XADD", stream, String(Date.now() - 60_000), "data", "{}")
      const producer = yield* StreamProducer.make({
        stream,
        schema: Order,
        trim: { maxAge: "30 seconds", exact: true, unacked: "drop" }
      })
      const sent = yield* Effect.either(StreamProducer.send(producer, order(1)))
      if ((yield* redis.capabilities).has("trim-min-id")) {
        assert.isTrue(Either.isRight(sent))
        assert.strictEqual(yield* redis.command("XLEN", stream), 1)
      } else {
        assert.strictEqual(Either.isLeft(sent) && sent.left._tag, "CommandFailed")
      }
    }))

  it.scoped("trimAcked drops what every group has acked, and nothing else", () =>
    Effect.gen(function*() {
      const { group, producer, send, stream } = yield* freshGroup()
      const redis = yield* Redis.Redis
      const other = { ...group, group: "shipping" }
      yield* ConsumerGroup.create(other)
      const ids = yield* send(1000)
      assert.strictEqual(yield* StreamProducer.trimAcked(producer), 0)
      const ack = (group: ConsumerGroup.ConsumerGroup<Order>, count: number, but: number) =>
        Effect.flatMap(deliveries(group, count), (all) =>
          Effect.forEach(all, (delivery) =>
            delivery.value.number === but ? Effect.void : Delivery.use(delivery, () =>
              Effect.void), {
            concurrency: "unbounded"
          }))
      yield* ack(group, 1000, 701)
      assert.strictEqual(yield* StreamProducer.trimAcked(producer), 0)
      yield* ack(other, 800, 0)
      const removed = yield* StreamProducer.trimAcked(producer)
      const kept = ((yield* redis.command("XRANGE", stream, "-", "+")) as Array<[string, unknown]>).map(([id]) =>
        id
      )
      assert.strictEqual(kept.length + removed, 1000)
      assert.deepStrictEqual(kept.slice(-300), ids.slice(700))
      assert.isBelow(kept.length, 420)
    }))
})

const ways: ReadonlyArray<readonly [string, ReadonlyArray<Capability>]> = [
  ["", []],
  [" without ACKED (7.0)", ["trim-acked"]],
  [" without XTRIM MINID (5.0, 6.0)", ["trim-acked", "trim-min-id"]]
]

for (const [name, without] of ways) {
  layer(RedisWithout(...without), { excludeTestServices: true })(`Trim${name}`, (it) => {
    const idsOf = (stream: string) =>
      Effect.flatMap(
        Redis.Redis,
        (redis) =>
          Effect.map(redis.command("XRANGE", stream, "-", "+"), (entries) =>
            (entries as Array<[string, unknown]>).map(([id]) => id))
      )
    const ack = Effect.forEach((delivery: Delivery.Delivery<Order>) => Delivery.use(delivery, () => Effect.void), {
      concurrency: "unbounded"
    })

    it.scoped("keeps what a group has not acked, and drops what all have", () =>
      Effect.gen(function*() {
        const { group, stream } = yield* freshGroup()
        const other = { ...group, group: "shipping" }
        yield* ConsumerGroup.create(other)
        const producer = yield* StreamProducer.make({ stream, schema: Order, trim: { maxLength: 10 } })
        const ids = [...(yield* StreamProducer.sendAll(producer, orders(700)))]
        ids.push(yield* StreamProducer.send(producer, order(701)))
        assert.deepStrictEqual(yield* idsOf(stream), ids)

        const [first, second] = [yield* deliveries(group, 600), yield* deliveries(other, 600)]
        yield* ack(first.filter(({ value }) => value.number !== 301))
        ids.push(yield* StreamProducer.send(producer, order(702)))
        assert.deepStrictEqual(yield* idsOf(stream), ids, "the other group has acked none")
        yield* ack(second)
        ids.push(yield* StreamProducer.send(producer, order(703)))
        const { id } = yield* StreamProducer.sendOnce(producer, order(704), { key: "a", remember: "1 second" })
        ids.push(id)
        const kept = yield* idsOf(stream)
        assert.includeMembers(kept, [ids[300]!, ...ids.slice(600)])
        assert.isBelow(kept.length, 704 - 200)

        yield* ack(first.filter(({ value }) => value.number === 301))
        ids.push(...yield* StreamProducer.sendAll(producer, orders(3)))
        const rest = yield* idsOf(stream)
        assert.includeMembers(rest, ids.slice(600))
        assert.isBelow(rest.length, 107 + 200)
      }))

    it.scoped("keeps what is to be read again after XGROUP SETID went back behind what is pending", () =>
      Effect.gen(function*() {
        const { group, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const trim = { maxLength: 1, exact: true } as const
        const producer = yield* StreamProducer.make({ stream, schema: Order, trim })
        const ids = [...(yield* StreamProducer.sendAll(producer, orders(10)))]
        yield* ack((yield* deliveries(group, 10)).slice(0, 9))
        yield* redis.command("XGROUP", "SETID", stream, group.group, ids[1]!)
        ids.push(yield* StreamProducer.send(producer, order(11)))
        assert.includeMembers(yield* idsOf(stream), ids.slice(2))
      }))

    it.scoped("is exact if asked for, and a stream without a group is trimmed as well", () =>
      Effect.gen(function*() {
        const { group, stream } = yield* freshGroup()
        const producer = yield* StreamProducer.make({ stream, schema: Order, trim: { maxLength: 10, exact: true } })
        const ids = [...(yield* StreamProducer.sendAll(producer, orders(50)))]
        yield* Effect.flatMap(deliveries(group, 50), ack)
        ids.push(yield* StreamProducer.send(producer, order(51)))
        assert.deepStrictEqual(yield* idsOf(stream), ids.slice(-10))
        const redis = yield* Redis.Redis
        yield* redis.command("XGROUP", "DESTROY", stream, group.group)
        for (const value of orders(20)) {
          ids.push(yield* StreamProducer.send(producer, value))
        }
        assert.deepStrictEqual(yield* idsOf(stream), ids.slice(-10))
        ids.push((yield* StreamProducer.sendOnce(producer, order(21), { key: "a", remember: "1 second" })).id)
        assert.deepStrictEqual(yield* idsOf(stream), ids.slice(-10))
      }))

    it.scoped("by age: what is old and not acked stays, and goes once it is", () =>
      Effect.gen(function*() {
        const { group, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        yield* redis.command("DEL", stream)
        const old = Date.now() - 60_000
        yield* redis.command("XADD", stream, `${old}-1`, "data", `{"number":1}`)
        yield* redis.command("XADD", stream, `${old}-2`, "data", `{"number":2}`)
        yield* redis.command("XGROUP", "CREATE", stream, group.group, "0")
        const trim = { maxAge: "30 seconds", exact: true } as const
        const producer = yield* StreamProducer.make({ stream, schema: Order, trim })
        yield* StreamProducer.send(producer, order(3))
        assert.strictEqual((yield* idsOf(stream)).length, 3)
        const [first, second, third] = yield* deliveries(group, 3)
        yield* ack([first!, third!])
        yield* StreamProducer.send(producer, order(4))
        const kept = yield* idsOf(stream)
        assert.includeMembers(kept, [`${old}-2`])
        assert.notInclude(kept, `${old}-1`)
        yield* ack([second!])
        yield* StreamProducer.send(producer, order(5))
        assert.strictEqual((yield* idsOf(stream)).length, 3)
      }))
  })
}

layer(RedisServer.layerOwn({ args: ["--rename-command", "XINFO", ""] }), { excludeTestServices: true })(
  "a server on which trimming fails",
  (it) => {
    it.scoped("sends all the same: the entry is there", () =>
      Effect.gen(function*() {
        const redis = yield* Redis.Redis
        yield* redis.command("XGROUP", "CREATE", "s", "g", "0", "MKSTREAM")
        const trim = { maxLength: 1, exact: true } as const
        const producer = yield* StreamProducer.make({ stream: "s", schema: Order, trim })
        const ids = [
          yield* StreamProducer.send(producer, order(1)),
          yield* StreamProducer.send(producer, order(2)),
          ...yield* StreamProducer.sendAll(producer, orders(3)),
          (yield* StreamProducer.sendOnce(producer, order(6), { key: "a", remember: "1 minute" })).id
        ]
        const entries = (yield* redis.command("XRANGE", "s", "-", "+")) as Array<[string, unknown]>
        assert.deepStrictEqual(entries.map(([id]) => id), ids)
      }).pipe(Effect.provide(RedisFromServer)))
  }
)
