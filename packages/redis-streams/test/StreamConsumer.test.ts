import { assert, describe, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import { Loading } from "@safesync/redis-streams/RedisError"
import * as Metrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Redis as Client } from "ioredis"
import * as crypto from "node:crypto"
import type { Lease } from "../src/internal/lease.js"
import { withoutValues } from "../src/internal/withoutValues.js"
import {
  deliveries,
  expectNoReader,
  expectNothingLeft,
  freshGroup,
  type Order,
  order,
  pendingOf,
  RedisLive,
  until,
  untilBlocked
} from "./fixture.js"

const numberOf = (delivery: Delivery.Delivery<Order>) => Delivery.use(delivery, (order) => Effect.succeed(order.number))

layer(RedisLive, { excludeTestServices: true })("StreamConsumer", (it) => {
  it.scoped("reads what was sent, in order", () =>
    Effect.gen(function*() {
      const { group, send } = yield* freshGroup()
      const ids = yield* send(150)
      const seen = yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
        Stream.mapEffect((delivery) => Effect.map(numberOf(delivery), (number) => [delivery.id, number])),
        Stream.take(150),
        Stream.runCollect
      )
      assert.deepStrictEqual(Chunk.toReadonlyArray(seen), ids.map((id, i) => [id, i + 1]))
      yield* expectNothingLeft(group)
    }))

  describe("L15: a delivery is acked when the bracket that took it ends with success, and not otherwise", () => {
    it.scoped("L15: not on failure, defect or interruption", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        const ids = yield* send(4)
        const exits = yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
          Stream.take(4),
          Stream.mapEffect((delivery) =>
            Effect.exit(Delivery.use(delivery, (order) => {
              switch (order.number) {
                case 1:
                  return Effect.succeed("done")
                case 2:
                  return Effect.fail("refused")
                case 3:
                  return Effect.die("broken")
                default:
                  return Effect.interrupt
              }
            }))
          ),
          Stream.runCollect
        )
        const [done, refused, broken, interrupted] = Chunk.toReadonlyArray(exits)
        assert.deepStrictEqual(done, Exit.succeed("done"))
        assert.deepStrictEqual(refused, Exit.fail("refused"))
        assert.deepStrictEqual(broken, Exit.die("broken"))
        assert.isTrue(Exit.isInterrupted(interrupted!))
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), ids.slice(1))
      }))

    it.scoped("L15: not when its fiber is interrupted from outside while the handler runs", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        const ids = yield* send(1)
        const begun = yield* Deferred.make<void>()
        const fiber = yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
          Stream.mapEffect(Delivery.use(() => Effect.zipRight(Deferred.succeed(begun, void 0), Effect.never))),
          Stream.runDrain,
          Effect.fork
        )
        yield* Deferred.await(begun)
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), ids)
        const [again] = yield* deliveries(group, 1)
        assert.deepStrictEqual([again!.id, again!.attempt], [ids[0], 2])
      }))

    it.scoped("L15: under take, buffer and concurrent mapEffect, what was not begun is not acked", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        const ids = yield* send(100)
        const seen = yield* StreamConsumer.stream(group, { consumer: "a", batchSize: 30 }).pipe(
          Stream.buffer({ capacity: 16 }),
          Stream.mapEffect(
            Delivery.use((order) =>
              order.number % 10 === 0 ? Effect.fail("refused") : Effect.as(Effect.yieldNow(), order.number)
            ),
            { concurrency: 8 }
          ),
          Stream.take(3),
          Stream.runCollect,
          Effect.either
        )
        assert.isTrue(Either.isRight(seen))
        const pending = (yield* pendingOf(group)).map(({ id }) => id)
        const { pending: counted } = yield* ConsumerGroup.info(group)
        assert.strictEqual(counted, pending.length)
        for (const [i, id] of ids.entries()) {
          // number 10 and its like failed, so they cannot have been acked
          if ((i + 1) % 10 === 0 && i < pending.length) {
            assert.include(pending, id)
          }
        }
        for (const number of Chunk.toReadonlyArray(Either.getOrThrow(seen))) {
          assert.notInclude(pending, ids[number - 1])
        }
      }))

    it.scoped("L15: a delivery that is begun only after its stream has closed is used and acked, if nobody took it", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup({ minIdle: "1 hour" })
        yield* send(2)
        const [taken, mine] = Chunk.toReadonlyArray(
          yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(Stream.take(2), Stream.runCollect)
        )
        const [byOther] = yield* Reclaim.once(group, { consumer: "b", count: 1 })
        assert.strictEqual(byOther!.id, taken!.id)
        assert.strictEqual((yield* Effect.flip(numberOf(taken!)))._tag, "LeaseLost")
        assert.strictEqual(yield* numberOf(mine!), 2)
        assert.strictEqual(yield* numberOf(byOther!), 1)
        yield* expectNothingLeft(group)
      }))

    it.scoped("L15: after its stream has closed, a running use still acks", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        yield* send(1)
        const scope = yield* Scope.make()
        const finish = yield* Deferred.make<void>()
        const begun = yield* Deferred.make<void>()
        const pull = yield* Scope.extend(Stream.toPull(StreamConsumer.stream(group, { consumer: "a" })), scope)
        const [delivery] = Chunk.toReadonlyArray(yield* until(Effect.orDie(pull), (chunk) => chunk.length > 0))
        const using = yield* Effect.fork(
          Delivery.use(delivery!, () => Effect.zipRight(Deferred.succeed(begun, void 0), Deferred.await(finish)))
        )
        yield* Deferred.await(begun)
        yield* Scope.close(scope, Exit.void)
        yield* Deferred.succeed(finish, void 0)
        yield* Fiber.join(using)
        yield* expectNothingLeft(group)
      }))
  })

  describe("L16: what is pending for a consumer comes before what is new", () => {
    it.scoped("L16: at start", () =>
      Effect.gen(function*() {
        const { group, producer, send } = yield* freshGroup()
        yield* send(70)
        yield* StreamConsumer.stream(group, { consumer: "a", batchSize: 70 }).pipe(
          Stream.take(70),
          Stream.mapEffect((delivery) => Effect.exit(Delivery.use(delivery, () => Effect.fail("later")))),
          Stream.runDrain
        )
        yield* StreamProducer.send(producer, order(71))
        const seen = yield* StreamConsumer.stream(group, { consumer: "a", batchSize: 20 }).pipe(
          Stream.mapEffect((delivery) => Effect.map(numberOf(delivery), (number) => [number, delivery.attempt])),
          Stream.take(71),
          Stream.runCollect
        )
        assert.deepStrictEqual(
          Chunk.toReadonlyArray(seen),
          Array.from({ length: 71 }, (_, i) => [i + 1, i < 70 ? 2 : 1])
        )
        yield* expectNothingLeft(group)
      }))

    it.scoped("L16, L21: after a reconnect, and what still runs is not given out again", () =>
      Effect.gen(function*() {
        const { group, producer, send } = yield* freshGroup()
        yield* send(3)
        const redis = yield* Redis.Redis
        const slow = yield* Deferred.make<void>()
        const seen: Array<[number, number]> = []
        const fiber = yield* StreamConsumer.stream(group, {
          consumer: "a",
          block: "1 minute",
          reconnect: Schedule.spaced("10 millis")
        }).pipe(
          Stream.runForEach((delivery) =>
            Effect.sync(() => seen.push([delivery.value.number, delivery.attempt])).pipe(
              Effect.zipRight(
                Effect.ignore(
                  Delivery.use(
                    delivery,
                    ({ number }) => number === 2 && delivery.attempt === 1 ? Effect.fail("later") : Deferred.await(slow)
                  )
                )
              ),
              Effect.fork
            )
          ),
          Effect.fork
        )
        const [reader] = yield* untilBlocked(group)
        assert.deepStrictEqual(seen, [[1, 1], [2, 1], [3, 1]])
        yield* redis.command("CLIENT", "KILL", "ID", reader!.id)
        yield* until(Effect.sync(() => seen.length), (length) => length > 3)
        yield* untilBlocked(group)
        yield* StreamProducer.send(producer, order(4))
        yield* until(Effect.sync(() => seen.length), (length) => length > 4)
        assert.deepStrictEqual(seen.slice(3), [[2, 2], [4, 1]])
        // Nor has the server counted another delivery of it.
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ attempts }) => attempts), [1, 2, 1, 1])
        yield* Deferred.succeed(slow, void 0)
        yield* until(pendingOf(group), (pending) => pending.length === 0)
        yield* Fiber.interrupt(fiber)
        yield* expectNothingLeft(group)
      }))
  })

  describe("next", () => {
    const take = (group: ConsumerGroup.ConsumerGroup<Order>, consumer: string, block?: Duration.DurationInput) =>
      Effect.map(
        StreamConsumer.next(group, { consumer, block }),
        Option.map(({ attempt, value }) => [value.number, attempt])
      )

    it.scoped("next is the next new entry; without block it does not wait for one", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        yield* send(2)
        const handled: Array<number> = []
        const one = Effect.scoped(Effect.gen(function*() {
          const found = yield* StreamConsumer.next(group, { consumer: "a" })
          if (Option.isSome(found)) {
            handled.push(yield* numberOf(found.value))
          }
          return Option.isSome(found)
        }))
        assert.deepStrictEqual(yield* Effect.all([one, one, one]), [true, true, false])
        assert.deepStrictEqual(handled, [1, 2])
        yield* expectNothingLeft(group)
      }))

    it.scoped("next waits for as long as block says, and takes what comes", () =>
      Effect.gen(function*() {
        const { group, producer } = yield* freshGroup()
        assert.deepStrictEqual(yield* take(group, "a", "20 millis"), Option.none())
        const waiting = yield* Effect.fork(take(group, "a", "1 minute"))
        yield* untilBlocked(group)
        yield* StreamProducer.send(producer, order(1))
        assert.deepStrictEqual(yield* Fiber.join(waiting), Option.some([1, 1]))
      }))

    it.scoped("L20: a next that waits stops at once", () =>
      Effect.gen(function*() {
        const { group } = yield* freshGroup()
        const waiting = yield* Effect.fork(Effect.scoped(take(group, "a", "1 minute")))
        yield* untilBlocked(group)
        const [took] = yield* Effect.timed(Fiber.interrupt(waiting))
        assert.isBelow(Duration.toMillis(took), 1000)
        yield* expectNoReader(group)
      }))

    it.scoped("L15, L20: a delivery of next that was not begun is handed back with its scope", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup({ minIdle: "1 hour" })
        yield* send(1)
        assert.deepStrictEqual(yield* Effect.scoped(take(group, "a")), Option.some([1, 1]))
        const [delivery] = yield* Reclaim.once(group, { consumer: "b", count: 1 })
        assert.strictEqual(yield* numberOf(delivery!), 1)
        yield* expectNothingLeft(group)
      }))

    it.scoped("L16: what is pending for the consumer comes before what is new, each once", () =>
      Effect.gen(function*() {
        const { group, producer, send } = yield* freshGroup()
        const { url } = yield* RedisServer.RedisServer
        yield* send(3)
        // An earlier life of the consumer, which has failed with all of them.
        yield* Effect.flatMap(
          deliveries(group, 3),
          Effect.forEach((delivery) => Effect.exit(Delivery.use(delivery, () => Effect.fail("later"))))
        ).pipe(Effect.scoped, Effect.provide(Redis.layer({ url })))
        yield* StreamProducer.send(producer, order(4))
        const seen = yield* Effect.all(Array.from({ length: 5 }, () => take(group, "a")))
        assert.deepStrictEqual(seen, [[1, 2], [2, 2], [3, 2], [4, 1]].map(Option.some).concat(Option.none() as never))
      }))

    it.scoped("L16, L21: after a call that failed, what it may have lost comes first", () =>
      Effect.gen(function*() {
        const { group, producer, send } = yield* freshGroup()
        const { url } = yield* RedisServer.RedisServer
        const proxy = yield* TcpProxy.make(url)
        yield* Effect.gen(function*() {
          const redis = yield* Redis.Redis
          assert.deepStrictEqual(yield* take(group, "a"), Option.none())
          const [id] = yield* send(2)
          yield* proxy.loseReplies("XREADGROUP")
          assert.strictEqual((yield* Effect.flip(take(group, "a")))._tag, "RedisConnectionLost")
          yield* until(Effect.either(redis.command("PING")), Either.isRight)
          assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), [id])
          const held = yield* Effect.all([take(group, "a"), take(group, "a")])
          assert.deepStrictEqual(held, [Option.some([1, 2]), Option.some([2, 1])])
          // Nor is what is held here given out again after another failure.
          yield* StreamProducer.send(producer, order(3))
          yield* proxy.loseReplies("XREADGROUP")
          yield* Effect.flip(take(group, "a"))
          yield* until(Effect.either(redis.command("PING")), Either.isRight)
          assert.deepStrictEqual(yield* take(group, "a"), Option.some([3, 2]))
          assert.deepStrictEqual((yield* pendingOf(group)).map(({ attempts }) => attempts), [2, 1, 2])
        }).pipe(Effect.scoped, Effect.provide(Redis.layer({ url: proxy.through(url) })))
      }))

    it.scoped("L17: an entry that cannot be decoded is dealt with, and the next one is found behind it", () =>
      Effect.gen(function*() {
        const { group, producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        yield* redis.command("XADD", stream, "*", "data", "{")
        yield* StreamProducer.send(producer, order(1))
        assert.deepStrictEqual(yield* take(group, "a"), Option.some([1, 1]))
        assert.strictEqual(yield* redis.command("XLEN", group.deadLetterStream), 1)
        const bad = yield* redis.command("XADD", stream, "*", "data", "{")
        yield* StreamProducer.send(producer, order(2))
        const strict = StreamConsumer.next(group, { consumer: "a", malformed: "fail" })
        assert.strictEqual((yield* Effect.flip(strict))._tag, "MalformedEntry")
        assert.strictEqual(Option.getOrThrow(yield* strict).value.number, 2)
        assert.include((yield* pendingOf(group)).map(({ id }) => id), bad)
      }))

    it.scoped("next refuses what can never work, and says that there is no group", () =>
      Effect.gen(function*() {
        const { group } = yield* freshGroup()
        const refusal = (settings: Parameters<typeof StreamConsumer.next>[1]) =>
          Effect.map(
            Effect.flip(StreamConsumer.next(group, settings)),
            (error) => error._tag === "InvalidOptions" ? error.option : error._tag
          )
        assert.strictEqual(yield* refusal({ consumer: " " }), "consumer")
        assert.strictEqual(yield* refusal({ consumer: "a", block: 0 }), "block")
        const never = StreamConsumer.next({ ...group, group: "never" }, { consumer: "a" })
        assert.strictEqual((yield* Effect.flip(never))._tag, "NoGroup")
      }))
  })

  describe("L17: an entry that cannot be decoded does not stop the stream", () => {
    it.scoped("L17: by default it goes to the dead-letter stream, with its origin and its error", () =>
      Effect.gen(function*() {
        const { group, producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        yield* StreamProducer.send(producer, order(1))
        const bad = yield* redis.command("XADD", stream, "*", "data", `{"number":"seven"}`)
        const odd = yield* redis.command("XADD", stream, "*", "payload", "x", "payload", "y")
        yield* StreamProducer.send(producer, order(2))
        const seen = yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
          Stream.mapEffect(numberOf),
          Stream.take(2),
          Stream.runCollect
        )
        assert.deepStrictEqual(Chunk.toReadonlyArray(seen), [1, 2])
        const dead = (yield* redis.command("XRANGE", group.deadLetterStream, "-", "+")) as Array<
          [string, Array<string>]
        >
        assert.deepStrictEqual(dead.map(([, fields]) => fields.slice(0, -1)), [
          [
            ...["data", `{"number":"seven"}`],
            ...["dead.stream", stream, "dead.id", bad, "dead.group", "billing", "dead.consumer", "a"],
            ...["dead.attempts", "1", "dead.reason"]
          ],
          [
            ...["payload", "x", "payload", "y"],
            ...["dead.stream", stream, "dead.id", odd, "dead.group", "billing", "dead.consumer", "a"],
            ...["dead.attempts", "1", "dead.reason"]
          ]
        ])
        assert.include(dead[0]![1].at(-1), "number")
        yield* expectNothingLeft(group)
      }))

    it.scoped("L17: bytes that are no text are kept as they are, and U+FFFD that was sent is text", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        const redis = yield* Redis.Redis
        const name = `test:${crypto.randomUUID()}`
        const group = yield* ConsumerGroup.make({
          stream: name,
          group: "g",
          schema: Schema.String,
          startId: "0",
          minIdle: "1 minute"
        })
        yield* ConsumerGroup.create(group)
        const client = yield* Effect.acquireRelease(
          Effect.sync(() => new Client(Redacted.value(url))),
          (client) =>
            Effect.promise(async () => {
              await client.del(name, group.deadLetterStream)
              client.disconnect()
            })
        )
        const bytes = Buffer.from([0x22, 0xff, 0xfe, 0x22])
        yield* Effect.promise(() => client.xadd(name, "*", "data", bytes))
        yield* redis.command("XADD", name, "*", "data", "\"\uFFFD ü 🎈\"")
        const [text] = yield* deliveries(group, 1)
        assert.strictEqual(text!.value, "\uFFFD ü 🎈")
        const dead = yield* Effect.promise(() => client.xrangeBuffer(group.deadLetterStream, "-", "+"))
        assert.deepStrictEqual(dead[0]![1][1], bytes)
      }))

    it.scoped("L17: with \"fail\" the good entries come first, then the stream fails and the bad one stays pending", () =>
      Effect.gen(function*() {
        const { group, producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        yield* StreamProducer.send(producer, order(1))
        const bad = yield* redis.command("XADD", stream, "*", "data", "{\"secret\":")
        yield* StreamProducer.send(producer, order(2))
        const seen: Array<number> = []
        const error = yield* StreamConsumer.stream(group, { consumer: "a", malformed: "fail" }).pipe(
          Stream.mapEffect(numberOf),
          Stream.runForEach((number) => Effect.sync(() => seen.push(number))),
          Effect.flip
        )
        assert.deepStrictEqual(seen, [1, 2])
        assert.strictEqual(error._tag, "MalformedEntry")
        assert.notInclude(error.message, "secret")
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), [bad])
      }))
  })

  describe("L17: an entry that nobody can deal with stays pending, and the stream goes on", () => {
    const good = (group: ConsumerGroup.ConsumerGroup<Order>) =>
      Effect.map(Effect.scoped(Effect.flatMap(deliveries(group, 1), Effect.forEach(numberOf))), ([number]) => number)

    it.scoped("L17: a schema that throws is like one that refuses", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        const redis = yield* Redis.Redis
        yield* send(2)
        const throwing = {
          ...group,
          entry: {
            ...group.entry,
            decode: (fields: ReadonlyArray<string>) => {
              if (fields[1] === `{"number":1}`) throw new Error("thrown")
              return group.entry.decode(fields)
            }
          }
        }
        assert.strictEqual(yield* good(throwing), 2)
        assert.strictEqual(yield* redis.command("XLEN", group.deadLetterStream), 1)
        yield* expectNothingLeft(group)
      }))

    it.scoped("L17: where there is no dead-letter stream, but something else under its name", () =>
      Effect.gen(function*() {
        const { group, producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        yield* redis.command("SET", group.deadLetterStream, "no stream")
        const bad = yield* redis.command("XADD", stream, "*", "data", "{")
        yield* StreamProducer.send(producer, order(1))
        assert.strictEqual(yield* good(group), 1)
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), [bad])
      }))

    it.scoped("L17: an entry with more fields than a script can pass on", () =>
      Effect.gen(function*() {
        const { group, producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const fields = Array.from({ length: 10_000 }, (_, i) => String(i))
        const bad = yield* redis.command("XADD", stream, "*", ...fields)
        yield* StreamProducer.send(producer, order(1))
        assert.strictEqual(yield* good(group), 1)
        assert.deepStrictEqual((yield* pendingOf(group)).map(({ id }) => id), [bad])
      }))

    it.scoped("L19: one that cannot be decoded and is deleted before it is moved is reported", () =>
      Effect.gen(function*() {
        const { group, producer, stream } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const bad = yield* redis.command("XADD", stream, "*", "data", "{")
        yield* StreamProducer.send(producer, order(1))
        const deleting: Redis.Service = {
          ...redis,
          script: (...args) => Effect.zipRight(redis.command("XDEL", stream, String(bad)), redis.script(...args))
        }
        assert.strictEqual(yield* Effect.provideService(good(group), Redis.Redis, deleting), 1)
        assert.strictEqual(Metrics.messagesDeleted.unsafeValue(Metrics.labels(stream)).count, 1)
        yield* expectNothingLeft(group)
      }))

    it("L17: why an entry does not fit is told without its values and the keys of its records", () => {
      const schema = Schema.Struct({
        names: Schema.Record({ key: Schema.String, value: Schema.Int }),
        list: Schema.Array(Schema.Int)
      })
      const error = ParseResult.decodeUnknownEither(Schema.parseJson(schema), { errors: "all" })(
        `{"names":{"secret":"x"},"list":[1,"y"]}`
      )
      assert.strictEqual(
        withoutValues(ParseResult.parseError(Either.getOrThrow(Either.flip(error)))),
        "Type at names.*, Type at list.1"
      )
    })
  })

  it.scoped("L18: what has come during a pause of the event loop is asked for before it is begun", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup({ minIdle: "90 millis" })
      const taking = yield* Effect.fork(deliveries(group, 1))
      yield* untilBlocked(group)
      const redis = yield* Redis.Redis
      yield* Effect.all([
        redis.command("XADD", group.stream, "*", "data", `{"number":1}`),
        // In the same turn, right after the command has been written.
        Effect.sync(() => {
          const start = performance.now()
          while (performance.now() - start < 200);
        })
      ], { concurrency: 2 })
      const [delivery] = yield* Fiber.join(taking)
      assert.isAbove((delivery as Delivery.Delivery<Order> as Lease<Order>).age, 90)
    }))

  it.scoped("L21: a group that cannot be created again at once is created again later", () =>
    Effect.gen(function*() {
      const { group, send, stream } = yield* freshGroup({ whenLost: { recreateFrom: "0" } })
      const redis = yield* Redis.Redis
      yield* send(1)
      let refusals = 2
      const refusing: Redis.Service = {
        ...redis,
        command: (...command) =>
          command[0] === "XGROUP" && refusals-- > 0
            ? Effect.fail(new Loading({ command: "XGROUP", detail: "not yet" }))
            : redis.command(...command)
      }
      const seen: Array<number> = []
      yield* StreamConsumer.stream(group, { consumer: "a", reconnect: Schedule.spaced("1 millis") }).pipe(
        Stream.mapEffect(numberOf),
        Stream.runForEach((number) => Effect.sync(() => seen.push(number))),
        Effect.provideService(Redis.Redis, refusing),
        Effect.forkScoped
      )
      yield* until(Effect.sync(() => seen.length), (length) => length === 1)
      yield* redis.command("XGROUP", "DESTROY", stream, group.group)
      yield* until(Effect.sync(() => seen.length), (length) => length === 2)
      assert.isBelow(refusals, 0)
    }))

  describe("L20: a consumer stops promptly and hands back what it has not begun", () => {
    it.scoped("L20: a read that blocks for a minute ends at once", () =>
      Effect.gen(function*() {
        const { group } = yield* freshGroup()
        const fiber = yield* Effect.fork(
          Stream.runDrain(StreamConsumer.stream(group, { consumer: "a", block: "1 minute" }))
        )
        yield* untilBlocked(group)
        const [took] = yield* Effect.timed(Fiber.interrupt(fiber))
        assert.isBelow(Duration.toMillis(took), 250)
        yield* expectNothingLeft(group)
      }))

    it.scoped("L20: another consumer can take at once what was fetched and not begun", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup({ minIdle: "1 hour" })
        yield* send(10)
        const first = yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
          Stream.mapEffect(numberOf),
          Stream.take(1),
          Stream.runCollect
        )
        assert.deepStrictEqual(Chunk.toReadonlyArray(first), [1])
        const others = yield* Reclaim.once(group, { consumer: "b", count: 100 })
        assert.deepStrictEqual(others.map(({ value }) => value.number), [2, 3, 4, 5, 6, 7, 8, 9, 10])
        // They were not begun, and that does not count.
        assert.deepStrictEqual(new Set(others.map(({ attempt }) => attempt)), new Set([1]))
        yield* Effect.forEach(others, numberOf)
        yield* expectNothingLeft(group)
      }))

    it.scoped("L20: whatever the moment of the interruption, nothing that was delivered is held back", () =>
      Effect.gen(function*() {
        const { group, producer } = yield* freshGroup({ minIdle: "1 hour" })
        const acked = new Set<number>()
        for (let round = 0; round < 60; round++) {
          const fiber = yield* StreamConsumer.stream(group, { consumer: `a${round}`, block: "1 minute" }).pipe(
            Stream.runForEach((delivery) => Effect.map(numberOf(delivery), (number) => acked.add(number))),
            Effect.fork
          )
          yield* untilBlocked(group)
          // the entry and the wake-up race each other
          yield* Effect.all([
            StreamProducer.sendAll(producer, [order(round * 2), order(round * 2 + 1)]),
            Fiber.interrupt(fiber)
          ], { concurrency: 2 })
        }
        const rest = yield* Reclaim.once(group, { consumer: "b", count: 1000 })
        yield* Effect.forEach(rest, (delivery) => Effect.map(numberOf(delivery), (number) => acked.add(number)))
        const fresh = 120 - acked.size
        yield* StreamConsumer.stream(group, { consumer: "b" }).pipe(
          Stream.take(fresh),
          Stream.runForEach((delivery) => Effect.map(numberOf(delivery), (number) => acked.add(number)))
        )
        assert.strictEqual(acked.size, 120)
        yield* expectNothingLeft(group)
      }))
  })

  describe("L20: however Redis is, a consumer stops", () => {
    const stopping = (breakIt: (proxy: TcpProxy.TcpProxy) => Effect.Effect<unknown>) =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        yield* send(10)
        const { url } = yield* RedisServer.RedisServer
        const proxy = yield* TcpProxy.make(url)
        const begun = yield* Deferred.make<void>()
        const consuming = yield* StreamConsumer.stream(group, {
          consumer: "a",
          block: "1 minute",
          reconnect: Schedule.spaced("1 minute")
        }).pipe(
          Stream.runForEach((delivery) =>
            delivery.value.number < 10
              ? numberOf(delivery)
              : Effect.zipRight(Deferred.succeed(begun, void 0), numberOf(delivery))
          ),
          Effect.provide(Redis.layer({ url: proxy.through(url) })),
          Effect.fork
        )
        yield* Deferred.await(begun)
        yield* untilBlocked(group)
        yield* breakIt(proxy)
        const [took] = yield* Effect.timed(Fiber.interrupt(consuming))
        yield* proxy.resume()
        return Duration.toMillis(took)
      })

    it.scoped("L20: at once while it waits to connect again", () =>
      Effect.gen(function*() {
        const took = yield* stopping((proxy) =>
          proxy.refuse.pipe(
            Effect.zipRight(proxy.cut),
            Effect.zipRight(until(proxy.counters, ({ open }) => open === 0))
          )
        )
        assert.isBelow(took, 250)
      }))

    it.scoped("L20: within its limits while Redis is silent", () =>
      Effect.gen(function*() {
        const took = yield* stopping((proxy) => proxy.stall())
        assert.isBelow(took, 3500)
      }))

    it.scoped("L20: within its limits while Redis is silent and there is something to hand back", () =>
      Effect.gen(function*() {
        const { group, send } = yield* freshGroup()
        yield* send(10)
        const { url } = yield* RedisServer.RedisServer
        const proxy = yield* TcpProxy.make(url)
        const begun = yield* Deferred.make<void>()
        const consuming = yield* StreamConsumer.stream(group, { consumer: "a" }).pipe(
          Stream.runForEach(Delivery.use(() => Effect.zipRight(Deferred.succeed(begun, void 0), Effect.never))),
          Effect.provide(Redis.layer({ url: proxy.through(url) })),
          Effect.fork
        )
        yield* Deferred.await(begun)
        yield* proxy.stall()
        const [took] = yield* Effect.timed(Fiber.interrupt(consuming))
        assert.isBelow(Duration.toMillis(took), 3500)
        // Nothing is lost by it: they are still pending for this consumer.
        assert.strictEqual((yield* pendingOf(group)).length, 10)
      }))

    it.scoped("L20: at once though the wake-up overtakes the read", () =>
      Effect.gen(function*() {
        const { stream } = yield* freshGroup()
        const { url } = yield* RedisServer.RedisServer
        const clients: Array<Client> = []
        const own = Redis.layerFrom((required) => {
          clients.push(new Client(Redacted.value(url), required))
          return clients.at(-1)!
        })
        const redis = Context.get(yield* Layer.build(own), Redis.Redis)
        const reader = yield* redis.reserve(stream, "reader")
        const socket = clients.at(-1)!.stream
        socket.cork()
        const reading = yield* Effect.fork(
          reader.read("XREAD", ["BLOCK", "60000", "STREAMS", stream, "$"], 60_000, () => {})
        )
        yield* Effect.yieldNow()
        const [took] = yield* Effect.timed(Effect.all([
          Fiber.interrupt(reading),
          Effect.delay(Effect.sync(() => socket.uncork()), "50 millis")
        ], { concurrency: 2 }))
        assert.isBelow(Duration.toMillis(took), 500)
      }))
  })

  describe("L21: Redis going away is a typed error", () => {
    it.scoped("L21: a lost connection fails the stream, if no schedule is given", () =>
      Effect.gen(function*() {
        const { group } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const fiber = yield* Effect.fork(
          Stream.runDrain(StreamConsumer.stream(group, { consumer: "a", block: "1 minute" }))
        )
        const [reader] = yield* untilBlocked(group)
        yield* redis.command("CLIENT", "KILL", "ID", reader!.id)
        const error = yield* Effect.flip(Fiber.join(fiber))
        assert.strictEqual(error._tag, "RedisConnectionLost")
        yield* expectNothingLeft(group)
      }))

    it.scoped("L21: a group that is lost is NoGroup, also under a read that blocks", () =>
      Effect.gen(function*() {
        const { group } = yield* freshGroup()
        const redis = yield* Redis.Redis
        const fiber = yield* Effect.fork(
          Stream.runDrain(StreamConsumer.stream(group, {
            consumer: "a",
            block: "300 millis",
            reconnect: Schedule.spaced("10 millis")
          }))
        )
        yield* untilBlocked(group)
        yield* redis.command("DEL", group.stream)
        assert.strictEqual((yield* Effect.flip(Fiber.join(fiber)))._tag, "NoGroup")
        const again = yield* Effect.flip(Stream.runDrain(StreamConsumer.stream(group, { consumer: "a" })))
        assert.strictEqual(again._tag, "NoGroup")
      }))

    for (
      const [recreateFrom, expected] of [["0", [1, 2, 3]], ["$", [3]]] as const
    ) {
      it.scoped(`L21: a lost group begins again at ${recreateFrom} if its policy says so`, () =>
        Effect.gen(function*() {
          const { group, producer, send, stream } = yield* freshGroup({ whenLost: { recreateFrom } })
          const redis = yield* Redis.Redis
          yield* send(1)
          const seen: Array<number> = []
          const consume = StreamConsumer.stream(group, { consumer: "a", block: "200 millis" }).pipe(
            Stream.mapEffect(numberOf),
            Stream.runForEach((number) => Effect.sync(() => seen.push(number)))
          )
          yield* Effect.forkScoped(consume)
          yield* until(Effect.sync(() => seen.length), (length) => length === 1)
          yield* redis.commands([
            ["XGROUP", "DESTROY", stream, group.group],
            ["XADD", stream, "*", "data", `{"number":2}`]
          ])
          yield* until(Effect.either(ConsumerGroup.info(group)), (info) => info._tag === "Right")
          yield* StreamProducer.send(producer, order(3))
          yield* until(Effect.sync(() => seen.length), (length) => length === expected.length + 1)
          assert.deepStrictEqual(seen.slice(1), [...expected])
        }))
    }

    it.scoped("L21: a group that was never created is no lost one", () =>
      Effect.gen(function*() {
        const { group } = yield* freshGroup({ whenLost: { recreateFrom: "0" } })
        const never = { ...group, group: "never" }
        const error = yield* Effect.flip(Stream.runDrain(StreamConsumer.stream(never, { consumer: "a" })))
        assert.strictEqual(error._tag, "NoGroup")
      }))
  })

  it.scoped("refuses what can never work", () =>
    Effect.gen(function*() {
      const { group } = yield* freshGroup()
      const refusal = (settings: StreamConsumer.Options) =>
        Effect.map(
          Effect.flip(Stream.runDrain(StreamConsumer.stream(group, settings))),
          (error) => error._tag === "InvalidOptions" ? error.option : error._tag
        )
      assert.strictEqual(yield* refusal({ consumer: "" }), "consumer")
      assert.strictEqual(yield* refusal({ consumer: "safesync.parked" }), "consumer")
      assert.strictEqual(yield* refusal({ consumer: "a", batchSize: 0 }), "batchSize")
      assert.strictEqual(yield* refusal({ consumer: "a", batchSize: -1 }), "batchSize")
      assert.strictEqual(yield* refusal({ consumer: "a", batchSize: 1.5 }), "batchSize")
      assert.strictEqual(yield* refusal({ consumer: "a", block: -1 }), "block")
      assert.strictEqual(yield* refusal({ consumer: "a", block: 0 }), "block")
      assert.strictEqual(yield* refusal({ consumer: "a", block: Duration.infinity }), "block")
    }))
})
