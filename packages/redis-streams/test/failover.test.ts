import { assert, it } from "@effect/vitest"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Net from "node:net"
import { Order, order, until } from "./fixture.js"

const server = Effect.gen(function*() {
  const { url } = Context.get(yield* Layer.build(Layer.fresh(RedisServer.layerOwn())), RedisServer.RedisServer)
  const redis = Context.get(yield* Layer.build(Layer.fresh(Redis.layer({ url }))), Redis.Redis)
  return { redis, port: Number(new URL(Redacted.value(url)).port) }
})

/** An address that leads to one server and then to another, as a name in DNS or a virtual address does; open connections stay. */
const movingAddress = (first: number) =>
  Effect.acquireRelease(
    Effect.async<{ readonly url: Redacted.Redacted<string>; readonly move: (port: number) => void; close: () => void }>(
      (resume) => {
        let target = first
        const open = new Set<Net.Socket>()
        const proxy = Net.createServer((client) => {
          const upstream = Net.connect(target, "127.0.0.1")
          for (const [socket, other] of [[client, upstream], [upstream, client]] as const) {
            open.add(socket)
            socket.on("error", () => {}).on("close", () => other.destroy()).pipe(other)
          }
        }).listen(0, "127.0.0.1", () =>
          resume(Effect.succeed({
            url: Redacted.make(`redis://127.0.0.1:${(proxy.address() as Net.AddressInfo).port}`),
            move: (port) => {
              target = port
            },
            close: () => {
              proxy.close()
              open.forEach((socket) => socket.destroy())
            }
          })))
      }
    ),
    ({ close }) => Effect.sync(close)
  )

it.scopedLive("L21: a connection that a failover has left with a replica goes to the address's new owner", () =>
  Effect.gen(function*() {
    const [old, next] = yield* Effect.all([server, server], { concurrency: 2 })
    const address = yield* movingAddress(old.port)
    yield* Effect.gen(function*() {
      const producer = yield* StreamProducer.make({ stream: "orders", schema: Order })
      yield* StreamProducer.send(producer, order(1))
      yield* old.redis.command("REPLICAOF", "127.0.0.1", String(next.port))
      address.move(next.port)
      const refused = yield* Effect.either(Effect.all(
        [StreamProducer.send(producer, order(2)), StreamProducer.send(producer, order(3))],
        { concurrency: 2, mode: "either" }
      ))
      // Both were on their way, and both have the server's own answer.
      assert.deepStrictEqual(
        refused._tag === "Right" && refused.right.map((sent) => sent._tag === "Left" && sent.left._tag),
        ["ReadOnlyReplica", "ReadOnlyReplica"]
      )
      const sent = yield* until(
        Effect.either(StreamProducer.send(producer, order(4))),
        (sent) => sent._tag === "Right" || sent.left._tag !== "RedisConnectionLost"
      )
      assert.strictEqual(sent._tag, "Right")
      const entries = (yield* next.redis.command("XRANGE", "orders", "-", "+")) as Array<[string, Array<string>]>
      assert.deepStrictEqual(entries.map(([, fields]) => fields), [["data", `{"number":4}`]])
    }).pipe(Effect.provide(Redis.layer({ url: address.url })))
  }))
