import { assert, describe, expect, layer } from "@effect/vitest"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { Redis as Client, type RedisOptions } from "ioredis"
import { randomUUID } from "node:crypto"
import * as Net from "node:net"
import { inspect } from "node:util"
import { connect, deliveries, expectNothingLeft, freshGroup, until } from "./fixture.js"

/** What building the layer fails with, and how long that took. */
const failure = (options: Redis.Options) =>
  Effect.gen(function*() {
    const [took, error] = yield* Effect.timed(Effect.flip(Effect.scoped(Layer.build(Redis.layer(options)))))
    return { error, millis: Duration.toMillis(took) }
  })

layer(RedisServer.layer, { excludeTestServices: true })("the layers of Redis", (it) => {
  describe("what is wrong at the start is a typed error at once", () => {
    it.scoped("nobody listens", () =>
      Effect.gen(function*() {
        const { error, millis } = yield* failure({ url: Redacted.make("redis://user:sesame@127.0.0.1:1/0") })
        assert.strictEqual(error._tag, "ConnectFailed")
        assert.include(error.message, "127.0.0.1:1")
        assert.notInclude(error.message, "sesame")
        assert.isBelow(millis, 500)
      }))

    it.scoped("no URL at all", () =>
      Effect.gen(function*() {
        for (const url of ["", "localhost:6379", "http://127.0.0.1:6379", "redis://", "redis://:sesame@@:x"]) {
          const { error } = yield* failure({ url: Redacted.make(url) })
          assert.strictEqual(error._tag, "ConnectFailed")
          assert.notInclude(error.message, "sesame")
        }
      }))

    it.scoped("a part of the URL that can never work, and the password is not told", () =>
      Effect.gen(function*() {
        const { host } = new URL(Redacted.value((yield* RedisServer.RedisServer).url))
        const urls = [
          ...["app", "-1", "1.5", "1e2", "%31", "0/1", "/", "0 1", "NaN", "12345678901234567890"].map((db) =>
            `${host}/${db}`
          ),
          ...["db=app", "db=-1", "retryStrategy=x", "connectTimeout=abc", "lazyConnect=false", "family=5", "path=/nope"]
            .map((query) => `${host}?${query}`),
          ...[
            `${host}#x`,
            "127.0.0.1:99999",
            "127.0.0.1:-1",
            "127.0.0.1:NaN",
            "127.0.0.1:0",
            "",
            "/0",
            ":6379",
            "[::zz]"
          ],
          ...["a b", "ho\u0000st"]
        ].flatMap((rest) => [`redis://${rest}`, `redis://:sesame@${rest}`, `REDIS://user:s%40sesame@${rest}`])
        const unescaped = [
          "user:12?sesame",
          "user:12/sesame",
          "user:12#sesame",
          "us%er:sesame",
          "user:ses%zzame",
          ":1/sesame"
        ]
          .map((login) => `redis://${login}@${host}`)
        for (const url of [...urls, ...unescaped]) {
          const { error } = yield* failure({ url: Redacted.make(url) })
          assert.strictEqual(error._tag, "ConnectFailed", url)
          assert.notInclude(`${error.message} ${inspect(error, { depth: 9 })}`, "sesame")
          const cluster = yield* Effect.flip(Layer.build(Layer.fresh(Redis.layerCluster([Redacted.make(url)]))))
          assert.strictEqual(cluster._tag, "ConnectFailed", url)
          assert.notInclude(`${cluster.message} ${inspect(cluster, { depth: 9 })}`, "sesame")
        }
        const second = yield* Effect.flip(Layer.build(Redis.layerCluster([Redacted.make(`redis://${host}/2`)])))
        assert.include(second.message, "one database")
      }))

    it.scoped("whatever follows the host, it is one of the errors or a connection", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        const samples = FastCheck.sample(
          FastCheck.tuple(
            FastCheck.constantFrom("", "/", "?", "#", ":", "/0", "?db=", "?family=", "/0?", "%"),
            // An @ would make another host of what follows.
            FastCheck.oneof(
              FastCheck.string({ maxLength: 8 }).filter((text) => !text.includes("@")),
              FastCheck.integer().map(String)
            )
          ),
          { numRuns: 300, seed: 17 }
        )
        yield* Effect.forEach(samples, ([separator, text]) =>
          Effect.gen(function*() {
            const settings = {
              url: Redacted.make(Redacted.value(url) + separator + text),
              connectTimeout: "500 millis"
            } as const
            const exit = yield* Effect.exit(Effect.scoped(Layer.build(Redis.layer(settings))))
            assert.isFalse(Exit.isFailure(exit) && Cause.isDie(exit.cause), separator + text)
          }), { concurrency: 8, discard: true })
      }))

    it.scoped("an option of the driver that ends the process", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        for (const db of [Number.NaN, -1, 1.5, Infinity, "app"] as ReadonlyArray<number>) {
          assert.strictEqual((yield* failure({ url, ioredis: { db } })).error._tag, "ConnectFailed")
          const own = Redis.layerFrom((required) => new Client(Redacted.value(url), { ...required, db }))
          assert.strictEqual((yield* Effect.flip(Layer.build(Layer.fresh(own))))._tag, "ConnectFailed")
        }
        const options: ReadonlyArray<NonNullable<Redis.Options["ioredis"]>> = [
          { path: "/nope" },
          { sentinels: [] },
          { name: "m", sentinels: [{ host: "127.0.0.1", port: 99_999 }] },
          { Connector: 5 as never }
        ]
        for (const ioredis of options) {
          const { error } = yield* failure({ url, ioredis, connectTimeout: "1 second" })
          assert.strictEqual(error._tag, "ConnectFailed")
        }
        const secure = Redacted.make(Redacted.value(url).replace("redis:", "rediss:"))
        for (const tls of [{ ca: "garbage" }, { cert: "garbage", key: "x" }, { minVersion: "TLSv9" as never }]) {
          const { error } = yield* failure({ url: secure, tls, connectTimeout: "300 millis" })
          assert.strictEqual(error._tag, "ConnectFailed")
        }
      }))

    it.scoped("the database and the family may stand behind the host", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        for (const [rest, db] of [["", 0], ["/", 0], ["/0", 0], ["/3", 3], ["?db=3", 3], ["/3?family=4", 3]] as const) {
          const redis = yield* connect({ url: Redacted.make(Redacted.value(url) + rest) })
          assert.include(yield* redis.command("CLIENT", "INFO"), ` db=${db} `)
        }
      }))

    it.scoped("a time that can never work", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        for (const name of ["connectTimeout", "commandTimeout"] as const) {
          for (const time of [0, -1, Duration.infinity, Number.NaN, "soon" as never, {} as never]) {
            const { error } = yield* failure({ url, [name]: time })
            assert.strictEqual(error._tag, "ConnectFailed")
            assert.include(error.message, name)
            const cluster = Redis.layerCluster([url], { [name]: time })
            assert.include((yield* Effect.flip(Layer.build(Layer.fresh(cluster)))).message, name)
          }
        }
      }))

    it.scoped("something else listens", () =>
      Effect.gen(function*() {
        const server = Net.createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")).listen(
          0,
          "127.0.0.1"
        )
        yield* Effect.addFinalizer(() => Effect.sync(() => server.close()))
        yield* Effect.async<void>((resume) => void server.once("listening", () => resume(Effect.void)))
        const { port } = server.address() as Net.AddressInfo
        const { error, millis } = yield* failure({ url: Redacted.make(`redis://127.0.0.1:${port}`) })
        assert.strictEqual(error._tag, "ConnectFailed")
        assert.isBelow(millis, 1000)
      }))

    it.scoped("somebody listens and does not answer", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        const proxy = yield* TcpProxy.make(url)
        yield* proxy.stall()
        const { error, millis } = yield* failure({ url: proxy.through(url), connectTimeout: "300 millis" })
        assert.strictEqual(error._tag, "ConnectFailed")
        assert.isBelow(millis, 3_000)
      }))

    it.scoped("a database that does not exist", () =>
      Effect.gen(function*() {
        const url = new URL(Redacted.value((yield* RedisServer.RedisServer).url))
        url.pathname = "/99999"
        const { error } = yield* failure({ url: Redacted.make(url.href) })
        assert.strictEqual(error._tag, "CommandFailed")
        assert.include(error.message, "DB index")
      }))

    it.scoped("the login is refused, or missing", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        const bare = Redacted.value(url).replace("redis://", "")
        yield* Effect.scoped(
          Effect.flatMap(connect({ url }), (redis) => redis.command("CONFIG", "SET", "requirepass", "open-sesame"))
        )
        for (const login of ["", ":wrong-sesame@", "nobody:wrong-sesame@"]) {
          const { error, millis } = yield* failure({ url: Redacted.make(`redis://${login}${bare}`) })
          assert.strictEqual(error._tag, "LoginRefused")
          assert.notInclude(error.message, "sesame")
          assert.isBelow(millis, 1000)
        }
        yield* connect({ url: Redacted.make(`redis://:open-sesame@${bare}`) })
      }).pipe(Effect.provide(RedisServer.layerOwn())))

    it.scoped("the server is too old", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        const { error } = yield* failure({ url })
        assert.strictEqual(error._tag, "ServerTooOld")
      }).pipe(Effect.provide(RedisServer.layerOwn({ args: ["--rename-command", "XREADGROUP", ""] }))))
  })

  describe("what a server does not carry out of what only makes things better is gone without", () => {
    const works = (url: Redacted.Redacted<string>) =>
      Effect.gen(function*() {
        const stream = `test:${randomUUID()}`
        const schema = Schema.Int
        const group = yield* ConsumerGroup.make({ stream, group: "g", schema, startId: "0", minIdle: "1 minute" })
        yield* ConsumerGroup.create(group)
        yield* StreamProducer.sendAll(yield* StreamProducer.make({ stream, schema }), [1, 2])
        const held = yield* deliveries(group, 2)
        yield* Effect.forEach(held, (delivery) => Delivery.use(delivery, () => Effect.void))
        const waiting = yield* Effect.fork(deliveries(group, 1))
        const redis = yield* Redis.Redis
        yield* until(redis.command("INFO", "clients"), (info) => /blocked_clients:1/.test(String(info)))
        const [took] = yield* Effect.timed(Fiber.interrupt(waiting))
        assert.isBelow(Duration.toMillis(took), 2000)
        yield* expectNothingLeft(group)
      }).pipe(Effect.scoped, Effect.provide(Layer.fresh(Redis.layer({ url }))))

    for (const command of ["CLIENT", "COMMAND", "CONFIG"]) {
      it.scoped(`${command} has another name, or none`, () =>
        Effect.gen(function*() {
          const { url } = yield* RedisServer.RedisServer
          yield* works(url)
        }).pipe(Effect.provide(RedisServer.layerOwn({ args: ["--rename-command", command, ""] }))))
    }

    it.scoped("INFO has another name", () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        const { hostname, port } = new URL(Redacted.value(url))
        // The driver asks for it in small letters.
        const server = Net.createServer((client) => {
          const upstream = Net.connect(Number(port), hostname)
          client.on("data", (data) => {
            upstream.write(data.toString("latin1").replaceAll("\r\ninfo\r\n", "\r\nxnfo\r\n"), "latin1")
          })
          upstream.pipe(client)
          client.on("close", () => upstream.destroy()).on("error", () => {})
          upstream.on("error", () => {})
        }).listen(0, "127.0.0.1")
        yield* Effect.addFinalizer(() => Effect.sync(() => server.close()))
        yield* Effect.async<void>((resume) => void server.once("listening", () => resume(Effect.void)))
        yield* works(Redacted.make(`redis://127.0.0.1:${(server.address() as Net.AddressInfo).port}`))
      }).pipe(Effect.provide(RedisServer.layerOwn())))

    for (const rights of ["-client", "-client|id", "-client|setname", "-info", "-command"]) {
      it.scoped(`its user has not the right: ${rights}`, () =>
        Effect.gen(function*() {
          const { url } = yield* RedisServer.RedisServer
          const admin = yield* connect({ url })
          // Before 7.0 there are rights to whole commands alone.
          if (rights.includes("|") && !(yield* admin.capabilities).has("auto-claim")) return
          yield* admin.command("ACL", "SETUSER", "limited", "on", ">pass", "~*", "+@all", rights)
          const as = Redacted.make(Redacted.value(url).replace("redis://", "redis://limited:pass@"))
          yield* rights === "-info" ? Effect.scoped(connect({ url: as })) : works(as)
        }).pipe(Effect.provide(RedisServer.layerOwn())))
    }
  })

  it.scoped("a server that has as many clients as it takes is told from one that is not there", () =>
    Effect.gen(function*() {
      const { url } = yield* RedisServer.RedisServer
      const admin = yield* connect({ url })
      yield* admin.command("CONFIG", "SET", "maxclients", "1")
      for (const layer of [Redis.layer({ url }), Redis.layerCluster([url])]) {
        const error = yield* Effect.flip(Effect.scoped(Layer.build(Layer.fresh(layer))))
        assert.strictEqual(error._tag, "ConnectFailed")
        assert.include(error.message, "max number of clients reached")
        assert.notInclude(error.message, "URL")
      }
      const reserving = yield* Effect.flip(Effect.scoped(admin.reserve("s", "name")))
      assert.include(reserving.message, "max number of clients reached")
    }).pipe(Effect.provide(RedisServer.layerOwn())))

  it.scoped("a server that lacks a command says that it may be renamed", () =>
    Effect.gen(function*() {
      const { url } = yield* RedisServer.RedisServer
      const { error } = yield* failure({ url })
      assert.strictEqual(error._tag, "ServerTooOld")
      assert.include(error.message, "under their own names")
    }).pipe(Effect.provide(RedisServer.layerOwn({ args: ["--rename-command", "XREADGROUP", "hidden"] }))))

  describe("TLS", () => {
    it.scoped("a consumer works over TLS, with a server whose certificate is trusted", () =>
      Effect.gen(function*() {
        const { ca, url } = yield* RedisServer.RedisServer
        const tls = { ca: Option.getOrThrow(ca) }
        yield* Effect.gen(function*() {
          const { group, send } = yield* freshGroup()
          yield* send(3)
          const held = yield* deliveries(group, 3)
          yield* Effect.forEach(held, (delivery) => Delivery.use(delivery, () => Effect.void))
          yield* expectNothingLeft(group)
        }).pipe(Effect.scoped, Effect.provide(Redis.layer({ url, tls })))

        // Nobody who cannot tell who answers is connected, nor anybody who believes to speak TLS and does not.
        const { error } = yield* failure({ url })
        assert.strictEqual(error._tag, "ConnectFailed")
        assert.include(error.message, "self-signed")
        const elsewhere = yield* failure({ url, tls: { ...tls, servername: "redis.example" } })
        assert.strictEqual(elsewhere.error._tag, "ConnectFailed")
        assert.include(elsewhere.error.message, "redis.example")
        const plain = Redacted.make(Redacted.value(url).replace("rediss:", "redis:"))
        const careless = yield* failure({ url: plain, tls })
        assert.strictEqual(careless.error._tag, "ConnectFailed")
        assert.include(careless.error.message, "rediss://")
        const untold = (yield* failure({ url: plain, connectTimeout: "1 second" })).error
        assert.strictEqual(untold._tag, "ConnectFailed")
        assert.include(untold.message, "redis:// or rediss:// included")
      }).pipe(Effect.provide(RedisServer.layerOwn({ tls: true }))))

    it.scoped("a cluster is connected to with TLS as well", () =>
      Effect.gen(function*() {
        const { ca, url } = yield* RedisServer.RedisServer
        const tls = { ca: Option.getOrThrow(ca) }
        yield* Effect.gen(function*() {
          const redis = yield* Redis.Redis
          // Every slot on one node, and what it announces of itself.
          const slots = Array.from({ length: 16_384 }, (_, slot) => String(slot))
          yield* redis.command("CLUSTER", "ADDSLOTS", ...slots)
          yield* until(redis.command("CLUSTER", "INFO"), (info) => /cluster_state:ok/.test(String(info)))
        }).pipe(Effect.scoped, Effect.provide(Redis.layer({ url, tls })))
        yield* Effect.gen(function*() {
          const { group, send } = yield* freshGroup()
          yield* send(2)
          const held = yield* deliveries(group, 2)
          yield* Effect.forEach(held, (delivery) => Delivery.use(delivery, () => Effect.void))
          yield* expectNothingLeft(group)
        }).pipe(Effect.scoped, Effect.provide(Redis.layerCluster([url], { tls })))
        const distrust = yield* Effect.flip(Layer.build(Layer.fresh(Redis.layerCluster([url]))))
        assert.strictEqual(distrust._tag, "ConnectFailed")
      }).pipe(Effect.provide(RedisServer.layerOwn({
        tls: true,
        args: [...["--cluster-enabled", "yes", "--tls-cluster", "yes"], ...["--cluster-announce-ip", "127.0.0.1"]]
      }))))
  })

  it.scoped("layerConfig takes its options from the configuration", () =>
    Effect.gen(function*() {
      const { url } = yield* RedisServer.RedisServer
      const redis = yield* Layer.build(Redis.layerConfig({ url: Config.redacted("REDIS_URL") })).pipe(
        Effect.map(Context.get(Redis.Redis)),
        Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["REDIS_URL", Redacted.value(url)]])))
      )
      assert.strictEqual(yield* redis.command("PING"), "PONG")
    }))

  for (
    const options of [
      { commandTimeout: 100 },
      { socketTimeout: 100 },
      { blockingTimeout: 100 },
      { stringNumbers: true },
      { monitor: true },
      { readOnly: true },
      { reconnectOnError: () => 2 as const },
      { keyPrefix: "app:" },
      { enableAutoPipelining: true },
      { enableOfflineQueue: true },
      { maxRetriesPerRequest: null },
      { lazyConnect: false },
      { autoResendUnfulfilledCommands: true },
      { connectTimeout: 1 },
      { retryStrategy: null },
      { tls: {} }
    ] satisfies Array<RedisOptions>
  ) {
    const [name] = Object.keys(options) as [string]
    it.scoped(`an option of the driver that breaks what this package does is refused by its name: ${name}`, () =>
      Effect.gen(function*() {
        const { url } = yield* RedisServer.RedisServer
        const refused = (layer: Layer.Layer<Redis.Redis, unknown>) => Effect.flip(Effect.scoped(Layer.build(layer)))
        const error = yield* refused(Redis.layer({ url, ioredis: options as object }))
        expect(error).toMatchObject({ _tag: "ConnectFailed", message: expect.stringContaining(name) })
        if (["connectTimeout", "retryStrategy", "tls"].includes(name)) return
        const made = yield* refused(
          Redis.layerFrom((required) => new Client(Redacted.value(url), { ...required, ...options }))
        )
        expect(made).toMatchObject({ _tag: "ConnectFailed", message: expect.stringContaining(name) })
      }))
  }

  it.scoped("layerFrom refuses a client that would send things twice", () =>
    Effect.gen(function*() {
      const { url } = yield* RedisServer.RedisServer
      const careless = Redis.layerFrom(() => new Client(Redacted.value(url), { lazyConnect: true }))
      const error = yield* Effect.flip(Effect.scoped(Layer.build(careless)))
      assert.strictEqual(error._tag, "ConnectFailed")
      assert.include(error.message, "autoResendUnfulfilledCommands")
      const careful = Redis.layerFrom((required) => new Client(Redacted.value(url), required))
      yield* Layer.build(careful)
    }))
})
