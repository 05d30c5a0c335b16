/**
 * Random histories of a consumer group, compared step by step with a model of it: what is pending, for whom, and how
 * often it was delivered. At the end nothing is lost.
 */
import { assert, layer } from "@effect/vitest"
import * as Delivery from "@safesync/redis-streams/Delivery"
import * as Reclaim from "@safesync/redis-streams/Reclaim"
import * as Redis from "@safesync/redis-streams/Redis"
import type { InvalidOptions, RedisError } from "@safesync/redis-streams/RedisError"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import type * as Chunk from "effect/Chunk"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import type * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type Capability, Without } from "../src/internal/capabilities.js"
import { freshGroup, type Order, pendingOf, RedisFromServer } from "./fixture.js"

const batchSize = 3

const names = ["a", "b"] as const
const name = FastCheck.constantFrom(...names)
const which = FastCheck.nat(1000)
const of = <const A extends string>(...steps: ReadonlyArray<A>) => FastCheck.constantFrom(...steps)

const step = FastCheck.oneof(
  { weight: 20, arbitrary: FastCheck.record({ step: of("send"), count: FastCheck.integer({ min: 1, max: 5 }) }) },
  { weight: 30, arbitrary: FastCheck.record({ step: of("read"), name }) },
  { weight: 10, arbitrary: FastCheck.record({ step: of("close", "crash"), name }) },
  { weight: 15, arbitrary: FastCheck.record({ step: of("reclaim"), name }) },
  { weight: 50, arbitrary: FastCheck.record({ step: of("succeed", "fail", "bury", "park"), which }) },
  { weight: 15, arbitrary: FastCheck.record({ step: of("age", "delete"), which }) },
  { weight: 2, arbitrary: FastCheck.record({ step: of("loseGroup") }) }
)
type Step = typeof step extends FastCheck.Arbitrary<infer S> ? S : never

type Pull = Effect.Effect<Chunk.Chunk<Delivery.Delivery<Order>>, Option.Option<RedisError | InvalidOptions>>

/** One worker process: its connection, its deliveries, and its stream while that is open. */
interface Process {
  readonly name: string
  readonly redis: Context.Context<Redis.Redis>
  readonly layer: Scope.CloseableScope
  readonly held: Set<Held>
  stream: { readonly scope: Scope.CloseableScope; readonly pull: Pull | undefined } | undefined
  unread: boolean
}

interface Held {
  readonly delivery: Delivery.Delivery<Order>
  readonly process: Process
  /** Fetched and not begun; its handler has failed; or its stream has closed before it was begun. */
  state: "fetched" | "released" | "handed"
  fence: number
}

interface Pending {
  owner: string
  attempts: number
  stale: boolean
}

const history = (steps: ReadonlyArray<Step>) =>
  Effect.gen(function*() {
    const { group, send, stream } = yield* freshGroup({ minIdle: "1 hour" })
    const redis = yield* Redis.Redis
    const scope = yield* Effect.scope

    const entries: Array<string> = []
    const deleted = new Set<string>()
    const pending = new Map<string, Pending>()
    const done = new Set<string>()
    const processes = new Map<string, Process>()
    let read = 0

    const start = (name: string) =>
      Effect.gen(function*() {
        const running = processes.get(name)
        if (running !== undefined) {
          return running
        }
        const layer = yield* Scope.fork(scope, { _tag: "Sequential" })
        const redis = yield* Layer.buildWithScope(RedisFromServer, layer)
        const process: Process = { name, redis, layer, held: new Set(), stream: undefined, unread: true }
        processes.set(name, process)
        return process
      })

    const open = (process: Process) =>
      Effect.gen(function*() {
        if (process.stream?.pull !== undefined) {
          return process.stream.pull
        }
        const own = process.stream?.scope ?? (yield* Scope.make())
        const pull = yield* Stream.toPull(
          StreamConsumer.stream(group, { consumer: process.name, batchSize, block: "20 millis" })
        ).pipe(Scope.extend(own), Effect.provide(process.redis), Effect.map(Effect.provide(process.redis)))
        process.stream = { scope: own, pull }
        process.unread = true
        return pull
      })

    const inFlight = (process: Process, id: string) =>
      [...process.held].find((held) => held.delivery.id === id && held.state === "fetched")

    const take = (process: Process, deliveries: Iterable<Delivery.Delivery<Order>>) => {
      for (const delivery of deliveries) {
        assert.strictEqual(delivery.value.number, entries.indexOf(delivery.id) + 1)
        assert.deepStrictEqual(
          [delivery.consumer, delivery.attempt],
          [pending.get(delivery.id)?.owner, pending.get(delivery.id)?.attempts],
          `the delivery of ${delivery.id} tells what the server holds`
        )
        assert.isUndefined(inFlight(process, delivery.id), `${delivery.id} is not given out twice`)
        process.held.add({ delivery, process, state: "fetched", fence: delivery.attempt })
      }
    }

    /** The next batch of new entries, and those of it that are not in flight already. */
    const readNew = (process: Process): ReadonlyArray<string> => {
      for (;;) {
        const batch: Array<string> = []
        while (read < entries.length && batch.length < batchSize) {
          const id = entries[read++]!
          if (!deleted.has(id)) {
            batch.push(id)
          }
        }
        if (batch.length === 0) {
          return []
        }
        for (const id of batch) {
          pending.set(id, { owner: process.name, attempts: 1, stale: false })
        }
        for (const held of process.held) {
          // Given again, by a group that was created again: the new delivery replaces the old one.
          if (held.state === "fetched" && batch.includes(held.delivery.id)) process.held.delete(held)
        }
        return batch
      }
    }

    const stillHolds = ({ delivery, fence, process }: Held) => {
      const entry = pending.get(delivery.id)
      return entry?.owner === process.name && (entry.attempts === fence || entry.attempts === fence - 1)
    }

    const close = (process: Process) =>
      Effect.gen(function*() {
        const { stream } = process
        process.stream = undefined
        if (stream !== undefined) {
          yield* Scope.close(stream.scope, Exit.void)
          for (const held of process.held) {
            if (held.state === "fetched") {
              held.state = "handed"
              if (stillHolds(held)) {
                // It was not begun, and its delivery does not count.
                held.fence = held.delivery.attempt - 1
                Object.assign(pending.get(held.delivery.id)!, { attempts: held.fence, stale: true })
              }
            }
          }
        }
      })

    const run = (step: Step): Effect.Effect<unknown, unknown, Redis.Redis | RedisServer.RedisServer> =>
      Effect.gen(function*() {
        switch (step.step) {
          case "send": {
            for (let i = 0; i < step.count; i++) {
              entries.push(
                (yield* redis.command("XADD", stream, "*", "data", `{"number":${entries.length + 1}}`)) as string
              )
            }
            return
          }
          case "read": {
            const process = yield* start(step.name)
            const own = () =>
              [...pending].filter(([id, { owner }]) =>
                owner === process.name && !deleted.has(id) && inFlight(process, id) === undefined
              ).map(([id]) => id)
            const fresh = process.stream?.pull === undefined
            const hasNew = entries.some((id, at) => at >= read && !deleted.has(id))
            if (!hasNew && !(fresh && own().length > 0)) {
              return
            }
            const pull = yield* open(process)
            const mine = own()
            let chunk: ReadonlyArray<Delivery.Delivery<Order>>
            do {
              chunk = [...(yield* pull)]
            } while (chunk.length === 0)
            if (mine.includes(chunk[0]!.id)) {
              for (const { id } of chunk) {
                assert.include(mine, id)
                const entry = pending.get(id)!
                entry.attempts++
                entry.stale = false
              }
            } else {
              assert.deepStrictEqual(chunk.map(({ id }) => id), readNew(process))
            }
            return take(process, chunk)
          }
          case "close": {
            const process = processes.get(step.name)
            return process && (yield* close(process))
          }
          case "crash": {
            const process = processes.get(step.name)
            if (process !== undefined) {
              processes.delete(step.name)
              // Without a connection nothing can be handed back.
              yield* Scope.close(process.layer, Exit.void)
              yield* process.stream === undefined ? Effect.void : Scope.close(process.stream.scope, Exit.void)
            }
            return
          }
          case "reclaim": {
            const process = yield* start(step.name)
            const own = process.stream?.scope ?? (yield* Scope.make())
            process.stream ??= { scope: own, pull: undefined }
            const taken = yield* Reclaim.once(group, { consumer: process.name, count: 10_000 }).pipe(
              Scope.extend(own),
              Effect.provide(process.redis)
            )
            const expected: Array<string> = []
            for (const [id, entry] of [...pending].sort(([a], [b]) => entries.indexOf(a) - entries.indexOf(b))) {
              if (entry.stale && !deleted.has(id)) {
                Object.assign(entry, { owner: process.name, attempts: entry.attempts + 1, stale: false })
                const held = inFlight(process, id)
                if (held !== undefined) {
                  // Nobody has begun it for so long that it was stale.
                  process.held.delete(held)
                }
                expected.push(id)
              }
            }
            assert.deepStrictEqual(taken.map(({ id }) => id), expected)
            return take(process, taken)
          }
          case "succeed":
          case "fail":
          case "bury":
          case "park": {
            const all = [...processes.values()].flatMap(({ held }) => [...held])
            const held = all[step.which % all.length]
            if (held === undefined) {
              return
            }
            const { delivery, process } = held
            const { id } = delivery
            const other = inFlight(process, id)
            const replaced = other !== undefined && other !== held
            const uses = step.step === "succeed" || step.step === "fail"
            const free = uses && held.state === "fetched"
            const possible = free || (!replaced && stillHolds(held))
            const result = yield* Effect.either<void, string | RedisError | InvalidOptions, never>(
              step.step === "succeed"
                ? Delivery.use(delivery, () => Effect.void)
                : step.step === "fail"
                ? Delivery.use(delivery, () => Effect.fail("refused"))
                : step.step === "bury"
                ? Delivery.deadLetter(delivery, "buried")
                : Delivery.retryAfter(delivery, 0)
            )
            const outcome = result._tag === "Right"
              ? "done"
              : typeof result.left === "string"
              ? result.left
              : result.left._tag
            if (deleted.has(id) && outcome === "LeaseLost") {
              // The server has dropped it, or keeps it until it is next asked for.
              process.held.delete(held)
              return
            }
            if (!possible) {
              assert.strictEqual(outcome, "LeaseLost", `${step.step} of ${id}`)
              process.held.delete(held)
              return
            }
            assert.strictEqual(outcome, step.step === "fail" ? "refused" : "done", `${step.step} of ${id}`)
            if (step.step === "fail") {
              if (!free && pending.has(id)) {
                // It was asked for again, which made it young and counts.
                Object.assign(pending.get(id)!, { attempts: delivery.attempt, stale: false })
                held.fence = delivery.attempt
              }
              held.state = "released"
              return
            }
            process.held.delete(held)
            if (step.step === "park") {
              Object.assign(pending.get(id)!, { attempts: delivery.attempt, owner: "safesync.parked", stale: true })
            } else {
              pending.delete(id)
              done.add(id)
            }
            return
          }
          case "age": {
            const alive = [...pending].filter(([id]) => !deleted.has(id))
            const chosen = alive[step.which % alive.length]
            if (chosen !== undefined) {
              const [id, entry] = chosen
              entry.stale = true
              const idle = String(2 * 3_600_000)
              yield* redis.command("XCLAIM", stream, group.group, entry.owner, "0", id, "IDLE", idle, "JUSTID")
            }
            return
          }
          case "delete": {
            const id = entries[step.which % entries.length]
            if (id !== undefined) {
              deleted.add(id)
              yield* redis.command("XDEL", stream, id)
            }
            return
          }
          case "loseGroup": {
            yield* redis.commands([
              ["XGROUP", "DESTROY", stream, group.group],
              ["XGROUP", "CREATE", stream, group.group, "0"]
            ])
            pending.clear()
            read = 0
          }
        }
      })

    const compare = Effect.map(pendingOf(group), (actual) =>
      assert.deepStrictEqual(
        actual.filter(({ id }) => !deleted.has(id)).map(({ attempts, consumer, id }) => [id, consumer, attempts]),
        [...pending].filter(([id]) => !deleted.has(id))
          .sort(([a], [b]) => entries.indexOf(a) - entries.indexOf(b))
          .map(([id, { attempts, owner }]) => [id, owner, attempts])
      ))

    for (const step of steps) {
      yield* run(step)
      yield* compare
    }

    // Everybody stops. Whoever comes then finds all that was not done.
    for (const process of processes.values()) {
      yield* close(process)
      yield* Scope.close(process.layer, Exit.void)
    }
    const left = (yield* pendingOf(group)).map(({ id }) => id)
    if (left.length > 0) {
      yield* redis.command("XCLAIM", stream, group.group, "x", "0", ...left, "IDLE", "7200000", "JUSTID")
    }
    const finish = (delivery: Delivery.Delivery<Order>) =>
      Effect.map(Delivery.use(delivery, () => Effect.void), () => done.add(delivery.id))
    yield* Effect.scoped(
      Effect.flatMap(Reclaim.once(group, { consumer: "z", count: 10_000 }), Effect.forEach(finish))
    )
    const unread = entries.slice(read).filter((id) => !deleted.has(id))
    yield* StreamConsumer.stream(group, { consumer: "z" }).pipe(Stream.take(unread.length), Stream.runForEach(finish))
    assert.deepStrictEqual(entries.filter((id) => !deleted.has(id) && !done.has(id)), [], "nothing is lost")
    assert.deepStrictEqual((yield* pendingOf(group)).filter(({ id }) => !deleted.has(id)), [])
    assert.isDefined(send)
  }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None))

const ways: ReadonlyArray<readonly [string, ReadonlyArray<Capability>]> = [
  ["", []],
  [", without XAUTOCLAIM", ["auto-claim"]],
  [", without XPENDING … IDLE", ["auto-claim", "pending-idle"]]
]

layer(RedisServer.layer, { excludeTestServices: true })("histories", (it) => {
  for (const [way, without] of ways) {
    it.effect(
      `L15-L20: random histories agree with the model, and nothing is lost${way}`,
      () =>
        Effect.gen(function*() {
          const runtime = yield* Effect.runtime<Redis.Redis | RedisServer.RedisServer>()
          yield* Effect.promise(() =>
            FastCheck.assert(
              FastCheck.asyncProperty(
                FastCheck.array(step, { minLength: 10, maxLength: 60 }),
                (steps) => Runtime.runPromise(runtime)(history(steps))
              ),
              { numRuns: 40, ...replay }
            )
          )
        }).pipe(
          Effect.provide(RedisFromServer),
          Effect.provide(Layer.succeed(Without, new Set(without)))
        ),
      120_000
    )
  }
})

/** `SAFESYNC_SEED` and `SAFESYNC_PATH` of a failure's report run that history alone. */
const replay = process.env.SAFESYNC_SEED === undefined ? {} : {
  seed: Number(process.env.SAFESYNC_SEED),
  path: process.env.SAFESYNC_PATH ?? ""
}
