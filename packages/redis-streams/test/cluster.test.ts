import { assert, expect, it, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Net from "node:net"
import { expectNothingLeft, freshGroup, Order, order, orders, until } from "./fixture.js"

const freePort = Effect.async<number>((resume) => {
  const server = Net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as Net.AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

const node = (...more: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const bus = yield* freePort
    const args = [
      ...["--cluster-enabled", "yes", "--cluster-port", String(bus), "--cluster-node-timeout", "1000"],
      // By default all nodes refuse all commands while one is missed.
      ...["--cluster-require-full-coverage", "no"],
      ...more
    ]
    const server = Context.get(yield* Layer.build(Layer.fresh(RedisServer.layerOwn({ args }))), RedisServer.RedisServer)
    const redis = Context.get(yield* Layer.build(Layer.fresh(Redis.layer({ url: server.url }))), Redis.Redis)
    const port = new URL(Redacted.value(server.url)).port
    const id = (yield* redis.command("CLUSTER", "MYID")) as string
    return { ...server, redis, port, bus: String(bus), id }
  })

/** Three masters, and a replica of each. */
class Nodes extends Context.Tag("Nodes")<Nodes, ReadonlyArray<Effect.Effect.Success<ReturnType<typeof node>>>>() {
  static readonly layer = Layer.scoped(
    Nodes,
    Effect.gen(function*() {
      const nodes = yield* Effect.all(Array.from({ length: 6 }, () => node()), { concurrency: 3 })
      const [first, ...others] = nodes
      for (const other of others) {
        yield* first!.redis.command("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus)
      }
      const ranges = [[0, 5460], [5461, 10922], [10923, 16383]]
      for (const [i, [from, to]] of ranges.entries()) {
        yield* nodes[i]!.redis.command("CLUSTER", "ADDSLOTSRANGE", String(from), String(to))
      }
      for (const i of [0, 1, 2]) {
        // It has to have heard of its master first.
        yield* Effect.retry(
          nodes[i + 3]!.redis.command("CLUSTER", "REPLICATE", nodes[i]!.id),
          Schedule.spaced("50 millis")
        )
      }
      for (const { redis } of nodes) {
        yield* until(
          redis.command("CLUSTER", "INFO"),
          (info) => /cluster_state:ok/.test(String(info)) && /cluster_known_nodes:6/.test(String(info))
        )
      }
      for (const i of [3, 4, 5]) {
        yield* until(nodes[i]!.redis.command("ROLE"), (role) => (role as Array<unknown>)[3] === "connected")
      }
      return nodes
    })
  )
}

const Live = Layer.unwrapEffect(
  Effect.map(
    Nodes,
    (nodes) =>
      Redis.layerCluster(nodes.slice(0, 2).map(({ url }) => url), {
        commandTimeout: "1 second",
        connectTimeout: "2 seconds"
      })
  )
).pipe(Layer.provideMerge(Nodes.layer))

layer(Live, { excludeTestServices: true, timeout: "2 minutes" })("a cluster of three nodes", (it) => {
  it.scoped("sends, reads, acks, reclaims, dead-letters and stops, on whichever node a stream lives", () =>
    Effect.forEach(Array.from({ length: 6 }), () =>
      Effect.gen(function*() {
        const { group, producer, send } = yield* freshGroup({ minIdle: "1 hour" })
        yield* send(20)
        yield* StreamProducer.send(producer, order(21))
        const seen: Array<number> = []
        const consuming = yield* StreamConsumer.stream(group, { consumer: "a", block: "1 minute" }).pipe(
          Stream.runForEach((delivery) =>
            delivery.value.number === 5
              ? Delivery.deadLetter(delivery, "no")
              : delivery.value.number === 6
              ? Delivery.retryAfter(delivery, 0)
              : Effect.map(Delivery.use(delivery, () => Effect.void), () => seen.push(delivery.value.number))
          ),
          Effect.fork
        )
        yield* until(Effect.sync(() => seen.length), (length) => length === 19)
        yield* Fiber.interrupt(consuming).pipe(Effect.timeoutFail({
          duration: "500 millis",
          onTimeout: () => new Error("does not stop")
        }))
        const [parked] = yield* Reclaim.once(group, { consumer: "b", count: 10 })
        assert.strictEqual(parked!.value.number, 6)
        yield* Delivery.use(parked!, () => Effect.void)
        yield* expectNothingLeft(group)
        const { length, pending } = yield* ConsumerGroup.info(group)
        assert.deepStrictEqual([length, pending], [21, 0])
      }), { concurrency: 3 }))

  it.scoped("a dead-letter stream on another node is a typed error, and nothing is lost", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      yield* send(1)
      const elsewhere = { ...group, deadLetterStream: "elsewhere" }
      const error = yield* StreamConsumer.stream(elsewhere, { consumer: "a" }).pipe(
        Stream.mapEffect((delivery) => Delivery.deadLetter(delivery, "no")),
        Stream.runDrain,
        Effect.flip
      )
      assert.strictEqual(error._tag, "CommandFailed")
      assert.include(error.message, "hash tag")
      yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
        Stream.take(1),
        Stream.runForEach((delivery) => Delivery.use(delivery, () => Effect.void))
      )
      yield* expectNothingLeft(group)
    }))

  it.scoped("L21: when a node dies, its streams go on after the failover", () =>
    Effect.gen(function*() {
      const nodes = yield* Nodes
      const redis = yield* Redis.Redis
      const group = yield* ConsumerGroup.make({
        stream: "orders",
        group: "billing",
        schema: Order,
        startId: "0",
        minIdle: "1 second"
      })
      const producer = yield* StreamProducer.make({ stream: "orders", schema: Order })
      yield* ConsumerGroup.create(group)
      const seen = new Set<number>()
      const reconnect = Schedule.spaced("50 millis")
      yield* Stream.merge(
        StreamConsumer.stream(group, { consumer: "a", reconnect }),
        Reclaim.stream(group, { consumer: "a", every: Schedule.spaced("200 millis"), reconnect })
      ).pipe(
        Stream.runForEach((delivery) =>
          Effect.ignore(Delivery.use(delivery, ({ number }) => Effect.sync(() => seen.add(number))))
        ),
        Effect.forkScoped
      )
      yield* StreamProducer.sendAll(producer, orders(100))
      yield* until(Effect.sync(() => seen.size), (size) => size === 100)

      const slot = (yield* redis.command("CLUSTER", "KEYSLOT", "orders")) as number
      const master = nodes[slot <= 5460 ? 0 : slot <= 10922 ? 1 : 2]!
      // Replication is asynchronous; what has not arrived at the replica yet may be lost with the master.
      yield* master.redis.command("WAIT", "1", "1000")
      yield* Option.getOrThrow(master.control).kill
      const sent = yield* until(Effect.either(StreamProducer.send(producer, order(101))), Either.isRight).pipe(
        Effect.timeoutFail({ duration: "30 seconds", onTimeout: () => new Error("no failover") })
      )
      assert.isTrue(Either.isRight(sent))
      yield* until(Effect.sync(() => seen.has(101)), (has) => has)
      yield* until(Effect.either(ConsumerGroup.info(group)), (info) => Either.isRight(info) && info.right.pending === 0)
    }), 60_000)

  it.scoped("L21: a node that falls silent is noticed though the others answer", () =>
    Effect.gen(function*() {
      const nodes = yield* Nodes
      const redis = yield* Redis.Redis
      const masterOf = (stream: string) =>
        Effect.map(redis.command("CLUSTER", "KEYSLOT", stream), (slot) =>
          (slot as number) <= 5460 ? 0 : (slot as number) <= 10922 ? 1 : 2)
      const all = yield* Effect.forEach(
        Array.from({ length: 50 }, (_, i) =>
          `s${i}`),
        (stream) => Effect.map(masterOf(stream), (master) => ({ stream, master }))
      )
      const killed = yield* masterOf("orders")
      const silent = all.find(({ master }) => master !== killed)!
      const alive = all.find(({ master }) => master !== killed && master !== silent.master)!
      const length = (stream: string) => redis.command("XLEN", stream)
      yield* length(silent.stream)
      const traffic = yield* Effect.forkScoped(Effect.forever(Effect.zipRight(length(alive.stream), Effect.yieldNow())))
      const { pause, resume } = Option.getOrThrow(nodes[silent.master]!.control)
      yield* pause
      const [took, error] = yield* Effect.timed(Effect.flip(length(silent.stream)))
      yield* resume
      assert.strictEqual(error._tag, "RedisTimeout")
      assert.isBelow(Duration.toMillis(took), 1900)
      expect(yield* Fiber.poll(traffic), "the other node's commands went on").toEqual(Option.none())
      yield* until(Effect.either(length(silent.stream)), Either.isRight)
    }))

  it.scoped("a wrong node is a typed error at once", () =>
    Effect.gen(function*() {
      const failure = (url: string) =>
        Effect.flip(Layer.build(Layer.fresh(Redis.layerCluster([Redacted.make(url)], { connectTimeout: "1 second" }))))
      assert.strictEqual((yield* failure("redis://:sesame@127.0.0.1:1"))._tag, "ConnectFailed")
      assert.strictEqual((yield* failure("nonsense"))._tag, "ConnectFailed")
    }))
})

it.scopedLive("what a cluster can do is what each of its masters can", () =>
  Effect.gen(function*() {
    const [first, second] = yield* Effect.all([node(), node("--rename-command", "XAUTOCLAIM", "")], { concurrency: 2 })
    yield* first.redis.command("CLUSTER", "MEET", "127.0.0.1", second.port, second.bus)
    yield* first.redis.command("CLUSTER", "ADDSLOTSRANGE", "0", "8000")
    yield* second.redis.command("CLUSTER", "ADDSLOTSRANGE", "8001", "16383")
    for (const { redis } of [first, second]) {
      yield* until(redis.command("CLUSTER", "INFO"), (info) => /cluster_state:ok/.test(String(info)))
    }
    assert.isTrue((yield* first.redis.capabilities).has("auto-claim"))
    const able = Effect.flatMap(Redis.Redis, (redis) => redis.capabilities)
    for (const { url } of [first, second, first, second]) {
      assert.isFalse((yield* Effect.provide(able, Layer.fresh(Redis.layerCluster([url])))).has("auto-claim"))
    }
  }))
