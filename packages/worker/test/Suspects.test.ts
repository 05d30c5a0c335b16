import { expect, layer } from "@effect/vitest"
import type * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import {
  balance,
  bench,
  credit,
  holdAt,
  marks,
  one,
  payments,
  plain,
  redisBehind,
  refuse,
  Servers,
  source,
  stoppable,
  until,
  worked
} from "./fixture.js"

/** Payments, of which the first ones have been delivered twice before, to consumers that are gone. */
const suspects = (count: number, options?: Parameters<typeof payments>[0]) =>
  Effect.gen(function*() {
    const all = yield* payments(options)
    const redis = yield* Redis.Redis
    const ids = yield* all.send(...Array.from({ length: count }, (_, i) => ({ account: 1, pence: 10 ** i })))
    const { group, stream } = all.group
    yield* redis.command("XREADGROUP", "GROUP", group, "a", "COUNT", String(count), "STREAMS", stream, ">")
    yield* redis.command("XCLAIM", stream, group, "a", "0", ...ids, "RETRYCOUNT", "2", "JUSTID")
    return { ...all, ids }
  })

const own = <A>(group: ConsumerGroup.ConsumerGroup<A>) =>
  StreamConsumer.stream(group, { consumer: "a", reconnect: Schedule.spaced("20 millis") })

/** `own`, with what others have left behind. */
const all = <A>(group: ConsumerGroup.ConsumerGroup<A>) =>
  StreamConsumer.stream(group, {
    consumer: "a",
    reconnect: Schedule.spaced("20 millis"),
    reclaim: { every: Schedule.spaced("50 millis") }
  })

const others = (count: number, pence = 1) => Array.from({ length: count }, () => ({ account: 2, pence }))

/** Watches the handlers that run under it: how many at a time, and how many there were beside a suspect. */
const watch = () => {
  let running = 0
  let alone = false
  const seen = { most: 0, beside: 0, suspects: 0 }
  const handler = <A, E, R>(suspect: boolean, effect: Effect.Effect<A, E, R>) =>
    Effect.suspend(() => {
      running++
      seen.most = Math.max(seen.most, running)
      if (suspect) seen.suspects++
      if (running > 1 && (suspect || alone)) seen.beside++
      alone ||= suspect
      return Effect.ensuring(
        effect,
        Effect.sync(() => {
          running--
          if (suspect) alone = false
        })
      )
    })
  return { seen, handler }
}

layer(Servers, { excludeTestServices: true })("Suspects", (it) => {
  for (const key of [undefined, ({ pence }: typeof one) => String(pence)]) {
    it.effect(`L24: they run alone in their process, ${key === undefined ? "without a key" : "by key"}, whichever worker's they are`, () =>
      bench(Effect.gen(function*() {
        const first = yield* suspects(4)
        const second = yield* suspects(2)
        yield* first.send(...others(40))
        yield* second.send(...others(60))
        const { handler, seen } = watch()
        const run = ({ group }: typeof first) =>
          Effect.fork(Worker.run(own(group), (payment, { attempt }) => handler(attempt >= 3, credit(payment)), {
            ...plain,
            key
          }))
        const workers = [yield* run(first), yield* run(second)]
        yield* worked(first.group)
        yield* worked(second.group)
        expect(seen.suspects).toBe(6)
        expect(seen.beside).toBe(0)
        expect(seen.most).toBeGreaterThan(1)
        expect([yield* balance(1), yield* balance(2)]).toEqual([1_111 + 11, 100])
        yield* Fiber.interruptAll(workers)
      })))
  }

  it.effect("L24: runBatch handles each in a transaction of its own, at its place in the order", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* suspects(2)
      yield* send(...others(5))
      const seen: Array<ReadonlyArray<number>> = []
      const worker = yield* Effect.fork(Worker.runBatch(
        own(group),
        (all) => {
          seen.push(all.map(({ attempt }) => attempt))
          return Effect.forEach(all, ({ value }) => credit(value))
        },
        { inbox: "message-id", onFailure: () => Disposition.stop, size: 10, within: "20 millis" }
      ))
      yield* worked(group)
      expect(seen.slice(0, 2)).toEqual([[3], [3]])
      expect(seen.slice(2).flat()).toEqual([1, 1, 1, 1, 1])
      expect(yield* balance(1)).toBe(11)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L24: a message that is retried ten times is no killer: it has a mark from its third delivery on, and is handled", () =>
    bench(Effect.gen(function*() {
      const { deadLetters, group, send, stream } = yield* payments({ minIdle: 100 })
      yield* send(one)
      const seen: Array<readonly [attempt: number, marks: number]> = []
      const worker = yield* Effect.fork(Worker.run(
        source(group, "a"),
        (payment, { attempt }) =>
          Effect.flatMap(Effect.orDie(marks(stream)), ({ length }) => {
            seen.push([attempt, length])
            return attempt < 10 ? refuse("not yet") : credit(payment)
          }),
        { ...plain, maxDeaths: 1, onFailure: () => Disposition.retry(Schedule.spaced("1 millis")) }
      ))
      yield* worked(group)
      expect(seen).toEqual(Array.from({ length: 10 }, (_, i) => [i + 1, i < 2 ? 0 : 1]))
      yield* until(marks(stream), ({ length }) => length === 0)
      expect([yield* balance(1), yield* deadLetters]).toEqual([1, 0])
      yield* Fiber.interrupt(worker)
    })))

  const ends = {
    success: [Effect.void, Disposition.stop],
    "a failure": [Effect.fail("no"), Disposition.discard],
    "a failure that is given up": [Effect.fail("no"), Disposition.deadLetter],
    "a defect": [Effect.die("no"), Disposition.discard],
    "an interruption of its own": [Effect.interrupt, Disposition.discard]
  } as const
  for (const [name, [effect, disposition]] of Object.entries(ends)) {
    it.effect(`L24: ${name} ends the mark`, () =>
      bench(Effect.gen(function*() {
        const { group, stream } = yield* suspects(1)
        const seen: Array<number> = []
        const worker = yield* Effect.fork(Worker.run(
          own(group),
          () =>
            Effect.flatMap(Effect.orDie(marks(stream)), ({ length }) => {
              seen.push(length)
              return effect as Effect.Effect<void, string>
            }),
          { ...plain, onFailure: () => disposition }
        ))
        yield* worked(group)
        expect(seen).toEqual([1])
        yield* until(marks(stream), ({ length }) => length === 0)
        yield* Fiber.interrupt(worker)
      })))
  }

  it.effect("L24: a lost lease and a drain end the mark: neither is a death", () =>
    bench(Effect.gen(function*() {
      const { deadLetters, group, ids, stream } = yield* suspects(1, { minIdle: 300 })
      const redis = yield* Redis.Redis
      const options = { ...plain, maxDeaths: 1, drainTimeout: 1 }
      const stuck = (begun: Deferred.Deferred<void>) => () =>
        Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never)
      const robbed = yield* Deferred.make<void>()
      const first = yield* Effect.fork(Worker.run(own(group), stuck(robbed), options))
      yield* Deferred.await(robbed)
      yield* redis.command("XCLAIM", stream, group.group, "thief", "0", ...ids)
      yield* until(marks(stream), ({ length }) => length === 0)
      const drained = yield* Deferred.make<void>()
      const second = yield* Effect.fork(Worker.run(source(group, "thief"), stuck(drained), options))
      yield* Deferred.await(drained)
      expect(yield* marks(stream)).toHaveLength(1)
      yield* Fiber.interrupt(second)
      yield* until(marks(stream), ({ length }) => length === 0)
      const third = yield* Effect.fork(Worker.run(source(group, "c"), credit, options))
      yield* worked(group)
      expect([yield* balance(1), yield* deadLetters]).toEqual([1, 0])
      yield* Fiber.interruptAll([first, third])
    })))

  for (const key of [undefined, () => "k"]) {
    it.effect(
      `L24: while the mark cannot be written it is not begun, and an answer that is lost is no death, ${
        key === undefined ? "without a key" : "by key"
      }`,
      () =>
        bench(Effect.gen(function*() {
          const { deadLetters, group, stream } = yield* suspects(1, { minIdle: 300 })
          const { behind, proxy } = yield* redisBehind
          const marking = yield* holdAt(proxy, ":begun:", "replies")
          let begun = 0
          const worker = yield* Effect.fork(Effect.provide(
            Worker.run(
              all(group),
              (payment) => {
                begun++
                return credit(payment)
              },
              { ...plain, maxDeaths: 1, key }
            ),
            behind
          ))
          yield* marking
          // it was written, and the worker does not know
          yield* until(marks(stream), ({ length }) => length === 1)
          yield* proxy.cut
          expect(begun).toBe(0)
          yield* proxy.resume()
          yield* worked(group)
          expect([begun, yield* balance(1), yield* deadLetters]).toEqual([1, 1, 0])
          yield* until(marks(stream), ({ length }) => length === 0)
          yield* Fiber.interrupt(worker)
        }))
    )
  }

  it.effect("L24: a mark that cannot be ended, since Redis is away, is ended when it is back, and is no death", () =>
    bench(Effect.gen(function*() {
      const { deadLetters, group, stream } = yield* suspects(1, { minIdle: 300 })
      const { behind, proxy } = yield* redisBehind
      const begun = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      let count = 0
      const worker = yield* Effect.fork(Effect.provide(
        Worker.run(
          all(group),
          (payment) =>
            Effect.zipRight(Deferred.succeed(begun, undefined), Effect.zipRight(Deferred.await(go), credit(payment)))
              .pipe(
                Effect.ensuring(Effect.sync(() => count++))
              ),
          { ...plain, inbox: "off", maxDeaths: 1 }
        ),
        behind
      ))
      yield* Deferred.await(begun)
      yield* proxy.refuse
      yield* proxy.cut
      yield* Deferred.succeed(go, undefined)
      yield* until(Effect.sync(() => count), (n) => n === 1)
      expect(yield* marks(stream)).toHaveLength(1)
      yield* proxy.accept
      yield* worked(group)
      expect([count, yield* deadLetters]).toEqual([2, 0])
      yield* until(marks(stream), ({ length }) => length === 0)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L24: a suspect that waits beside a handler without end does not keep the others waiting for ever", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments({ left: 1 })
      yield* send({ account: 3, pence: 1 })
      const begun = yield* Deferred.make<void>()
      const never = yield* Effect.fork(Worker.run(
        own(group),
        () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never),
        { ...plain, drainTimeout: 1 }
      ))
      yield* Deferred.await(begun)
      const second = yield* suspects(1)
      yield* second.send(...others(10))
      const worker = yield* Effect.fork(Worker.run(own(second.group), credit, plain))
      yield* until(balance(2), (n) => n === 10)
      expect(yield* balance(1)).toBe(0)
      yield* Fiber.interrupt(never)
      yield* until(balance(1), (n) => n === 1)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L24: others that come without end do not keep a suspect waiting for ever", () =>
    bench(Effect.gen(function*() {
      const endless = yield* payments()
      yield* endless.send(...others(8))
      const { handler, seen } = watch()
      let count = 0
      let on = true
      // each of them sends the next one before it ends: it never gets quiet by itself
      const busy = yield* Effect.fork(Worker.run(
        own(endless.group),
        (payment) =>
          handler(
            false,
            Effect.suspend(() => ++count && on ? Effect.zipRight(endless.send(payment), credit(payment)) : Effect.void)
          ),
        plain
      ))
      yield* until(Effect.sync(() => count), (n) => n > 20)
      const { group } = yield* suspects(1)
      const worker = yield* Effect.fork(Worker.run(own(group), (payment) => handler(true, credit(payment)), plain))
      yield* worked(group)
      const then = count
      yield* until(Effect.sync(() => count), (n) => n > then + 20)
      on = false
      yield* worked(endless.group)
      expect([seen.suspects, seen.beside, yield* balance(1)]).toEqual([1, 0, 1])
      yield* Fiber.interruptAll([busy, worker])
    })))

  it.effect("L24: a worker that has ended in the middle of its handlers keeps no suspect of another one waiting", () =>
    bench(Effect.gen(function*() {
      const broken = yield* payments({ left: 1 })
      yield* broken.send(one)
      const exit = yield* Effect.exit(Worker.run(own(broken.group), () => Effect.fail("no"), {
        ...plain,
        onFailure: () => {
          throw new Error("a mistake in the policy")
        }
      }))
      expect(Exit.isFailure(exit)).toBe(true)
      const { group } = yield* suspects(1)
      const worker = yield* Effect.fork(Worker.run(own(group), credit, plain))
      yield* worked(group)
      expect(yield* balance(1)).toBe(1)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("L26: a suspect that waits is handed back at a drain, and keeps no worker of the process", () =>
    bench(Effect.gen(function*() {
      const slow = yield* payments()
      yield* slow.send(one)
      const begun = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const beside = yield* Effect.fork(Worker.run(
        own(slow.group),
        (payment) =>
          Effect.zipRight(
            payment.account === 1
              ? Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(go))
              : Effect.void,
            credit(payment)
          ),
        plain
      ))
      yield* Deferred.await(begun)
      const { group } = yield* suspects(1)
      const waits = yield* stoppable(Worker.make(own(group), () => Effect.die("not here"), plain))
      yield* until(waits.status, ({ waiting }) => waiting === 1)
      yield* Effect.flatMap(waits.drain, Fiber.join)
      // with it has gone what others were waiting for
      yield* slow.send(...others(3))
      yield* until(balance(2), (n) => n === 3)
      yield* Deferred.succeed(go, undefined)
      yield* worked(slow.group)
      const attempts: Array<number> = []
      const next = yield* Effect.fork(Worker.run(source(group, "b"), (payment, { attempt }) => {
        attempts.push(attempt)
        return credit(payment)
      }, plain))
      yield* worked(group)
      expect(attempts).toEqual([3])
      yield* Fiber.interruptAll([beside, next])
    })))

  it.effect("L24: where Redis refuses the marks, messages are handled all the same, and that is said once", () =>
    bench(Effect.gen(function*() {
      const { group, stream } = yield* suspects(2)
      const redis = yield* Redis.Redis
      yield* redis.command(
        "ACL",
        "SETUSER",
        "bare",
        "reset",
        "on",
        ">secret",
        "+@all",
        `~${stream}`,
        `~{${stream}}:born`
      )
      const url = new URL(Redacted.value((yield* RedisServer.RedisServer).url))
      url.username = "bare"
      url.password = "secret"
      const said: Array<string> = []
      const logger = Logger.replace(
        Logger.defaultLogger,
        Logger.make(({ message }) => {
          if (String(message).includes("refuses the marks")) said.push(String(message))
        })
      )
      const worker = yield* Effect.fork(Effect.provide(
        Worker.run(own(group), credit, plain),
        Layer.merge(Redis.layer({ url: Redacted.make(url.href) }), logger)
      ))
      yield* worked(group)
      expect(yield* balance(1)).toBe(11)
      expect(said).toHaveLength(1)
      yield* Fiber.interrupt(worker)
    })))

  it.effect("a maxDeaths that can never work is a defect at once", () =>
    bench(Effect.forEach([0, -1, 1.5, NaN, Infinity], (maxDeaths) =>
      Effect.forEach([
        Worker.run(Stream.empty, () => Effect.void, { ...plain, maxDeaths }),
        Worker.runBatch(Stream.empty, () => Effect.void, { ...plain, size: 1, within: 1, maxDeaths })
      ], (worker) =>
        Effect.map(Effect.exit(worker), (exit) => {
          expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain(
            `maxDeaths must be a whole number above 0, not ${maxDeaths}`
          )
        })))))
})
