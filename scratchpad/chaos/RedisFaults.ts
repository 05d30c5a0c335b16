/**
 * L15, L16, L20, L21: whatever happens to Redis and to the network, what a `send` has promised is handled and acked, a
 * `sendOnce` has made one entry, and no consumer is left hanging.
 *
 * @since 0.1.0
 */
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as RedisServer from "@safesync/testkit/RedisServer"
import type { ServerControl } from "@safesync/testkit/ServerControl"
import type { ServerUnavailable } from "@safesync/testkit/ServerUnavailable"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { Scope } from "effect/Scope"
import * as Work from "./RedisWork.js"
import type { Outcome, Scenario, Settings } from "./Scenario.js"
import * as Seeded from "./Seeded.js"

/**
 * @since 0.1.0
 * @category scenarios
 */
export const scenario: Scenario = {
  name: "redis-faults",
  description:
    "Redis is killed, frozen and cut off while producers and consumers work: nothing is lost (L15, L16, L20, L21)",
  unit: "faults",
  runs: 200,
  run: (settings) => Effect.provide(run(settings), RedisServer.layerOwn({ appendonly: true }))
}

// internal

const run = (settings: Settings): Effect.Effect<Outcome, Error, RedisServer.RedisServer | Scope> =>
  Effect.gen(function*() {
    const { control, version } = yield* RedisServer.RedisServer
    const server = Option.getOrThrow(control)
    const work = yield* Work.work
    const books = Work.books()
    const observer = yield* Work.client("observer")
    yield* Effect.provide(ConsumerGroup.create(work.group), observer.redis)

    const [many, once, a, b] = yield* Effect.all([
      Work.client("many"),
      Work.client("once"),
      Work.client("a"),
      Work.client("b")
    ])
    yield* Work.consume(work, books, a)
    yield* Work.consume(work, books, b)
    const producing = yield* Effect.fork(
      Effect.all([Work.sendMany(work, books, many), Work.sendOnce(work, books, once)], { concurrency: 2 })
    )

    const clients = [many, once, a, b]
    const done = new Map<string, number>()
    const seeded = Seeded.make(settings.seed, "faults")
    for (let i = 0; i < settings.runs; i++) {
      yield* Effect.sleep(seeded.between(1, 80))
      const fault = seeded.pick(faults)
      yield* fault.happen(server, seeded.pick(clients), seeded)
      done.set(fault.name, (done.get(fault.name) ?? 0) + 1)
      settings.progress.update(i + 1, `${books.promised.size} promised, ${books.handled.size} handled`)
    }

    const failures: Array<string> = []
    for (const { proxy } of clients) {
      yield* Effect.all([proxy.accept, proxy.resume(), proxy.delay(0)])
    }
    // Both find new entries again.
    const healed = performance.now()
    for (const { name } of [a, b]) {
      const works = Effect.sync(() => (books.lastSign.get(name) ?? 0) > healed)
      if (!(yield* within(works))) failures.push(`consumer ${name} hangs: it does nothing any more`)
    }
    yield* Fiber.interrupt(producing)
    const settled = yield* Effect.provide(within(isSettled(work)), observer.redis)
    const left = yield* Effect.orDie(Effect.provide(ConsumerGroup.info(work.group), observer.redis))
    if (!settled) failures.push(`${left.pending} entries are still pending, and ${lagOf(left)} not yet read`)
    failures.push(...books.stopped.map((what) => `it should have gone on: ${what}`))

    const lost = [...books.promised].filter((id) => !books.handled.has(id))
    failures.push(...lost.map((id) => `entry ${id} was sent and is not handled`))
    const entries = yield* Effect.orDie(Effect.provide(keysOf(work), observer.redis))
    for (const key of books.keys) {
      const count = entries.keys.get(key) ?? 0
      if (count !== 1) failures.push(`${count} entries were made under the key ${key}`)
    }
    const again = [...books.handled.values()].filter((count) => count > 1).length
    return {
      figures: [
        ["Redis", version],
        ...faults.map(({ name }) => [name, done.get(name) ?? 0] as const),
        ["entries in the stream", entries.count],
        ["entries whose send reported success", books.promised.size],
        ["sends that failed, outcome unknown or not sent", books.failedSends],
        ["keys of sendOnce, each one entry", books.keys.size],
        ["entries handled", books.handled.size],
        ["of them handled more than once", again],
        ["entries lost", lost.length],
        ["pending at the end", left.pending],
        ["longest time without any handler's success, ms", Math.round(books.longestSilence)]
      ],
      failures
    }
  })

interface Fault {
  readonly name: string
  readonly happen: (
    server: ServerControl,
    client: Work.Client,
    seeded: Seeded.Seeded
  ) => Effect.Effect<unknown, ServerUnavailable>
}

const between = (seeded: Seeded.Seeded, from: number, to: number) => Effect.sleep(seeded.between(from, to))

/** Long enough for a client to give the connection up. */
const noticed = Effect.sleep(Work.commandTimeout + 50)

const faults: ReadonlyArray<Fault> = [
  {
    name: "server killed and started again",
    happen: (server, _, seeded) => Effect.all([server.kill, between(seeded, 1, 60), server.start])
  },
  {
    name: "server frozen",
    happen: (server, _, seeded) => Effect.all([server.pause, between(seeded, 1, 400), server.resume])
  },
  { name: "connections cut", happen: (_, { proxy }) => proxy.cut },
  {
    name: "connections cut, new ones refused",
    happen: (_, { proxy }, seeded) => Effect.all([proxy.refuse, proxy.cut, between(seeded, 1, 60), proxy.accept])
  },
  { name: "network stalled", happen: (_, { proxy }) => Effect.all([proxy.stall(), noticed, proxy.resume()]) },
  {
    name: "replies held back",
    happen: (_, { proxy }, seeded) =>
      Effect.all([proxy.stall("replies"), between(seeded, 1, 60), proxy.resume("replies")])
  },
  {
    name: "half open: the server is gone, and nobody says so",
    happen: (server, { proxy }) => Effect.all([proxy.stall(), server.kill, server.start, noticed, proxy.resume()])
  },
  {
    name: "latency",
    happen: (_, { proxy }, seeded) =>
      Effect.all([proxy.delay(seeded.between(5, 60)), between(seeded, 50, 150), proxy.delay(0)])
  },
  {
    name: "a reply lost, the connection cut",
    happen: (_, { proxy }, seeded) => proxy.loseReplies(seeded.pick(["XREADGROUP", "XACK", "XADD", "EVALSHA"]))
  },
  {
    name: "a reply lost, the connection hangs",
    happen: (_, { proxy }, seeded) => proxy.loseReplies(seeded.pick(["XADD", "XACK", "EVALSHA"]), "hang")
  }
]

/** Whether it becomes true in time. A load of other work on the machine must not look like a hang. */
const within = <E, R>(self: Effect.Effect<boolean, E, R>): Effect.Effect<boolean, never, R> =>
  self.pipe(
    Effect.orElseSucceed(() => false),
    Effect.repeat({ schedule: Schedule.spaced("20 millis"), until: (holds) => holds }),
    Effect.timeoutOption("60 seconds"),
    Effect.map(Option.isSome)
  )

const lagOf = (info: ConsumerGroup.Info) => Option.getOrElse(info.lag, () => 0)

const isSettled = ({ group }: Work.Work) =>
  Effect.map(ConsumerGroup.info(group), (info) => info.pending === 0 && lagOf(info) === 0)

/** How many entries there are, and how many under each key. */
const keysOf = ({ group }: Work.Work) =>
  Effect.gen(function*() {
    const redis = yield* Redis.Redis
    const keys = new Map<string, number>()
    let count = 0
    let from = "-"
    for (;;) {
      const page = (yield* redis.command("XRANGE", group.stream, from, "+", "COUNT", "1000")) as ReadonlyArray<
        readonly [id: string, fields: readonly [string, string]]
      >
      for (const [, [, data]] of page) {
        const { key } = JSON.parse(data) as { readonly key?: string }
        if (key !== undefined) keys.set(key, (keys.get(key) ?? 0) + 1)
      }
      count += page.length
      if (page.length < 1000) return { count, keys }
      const [millis, sequence] = page.at(-1)![0].split("-") as [string, string]
      from = `${millis}-${Number(sequence) + 1}`
    }
  })
