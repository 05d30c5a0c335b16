import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { expect, layer } from "@effect/vitest"
import * as Outbox from "@safesync/mysql/Outbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as OutboxRelay from "@safesync/worker/OutboxRelay"
import * as Worker from "@safesync/worker/Worker"
import * as WorkerStatus from "@safesync/worker/WorkerStatus"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import {
  balance,
  bench,
  credit,
  mysqlBehind,
  one,
  payments,
  plain,
  redisBehind,
  Servers,
  source,
  until,
  worked
} from "./fixture.js"

layer(Servers, { excludeTestServices: true })("Health", (it) => {
  it.effect("L26: an idle worker tells which server is away, since when, and why, and that it is back", () =>
    bench(Effect.gen(function*() {
      const { group } = yield* payments()
      const mysql = yield* mysqlBehind
      const redis = yield* redisBehind
      const worker = yield* Effect.provide(
        Worker.make(source(group, "a"), credit, plain),
        Layer.succeedContext(mysql.behind).pipe(Layer.provideMerge(Layer.succeedContext(redis.behind)))
      )
      const healthy = yield* worker.status
      expect(WorkerStatus.health(healthy)).toEqual({ live: true, ready: true, reasons: [] })

      yield* mysql.proxy.refuse
      yield* mysql.proxy.cut
      const without = yield* until(worker.status, (status) => !status.mysql.connected)
      expect(without).toMatchObject({ state: "running", redis: { connected: true } })
      expect(Option.isSome(without.mysql.lastError)).toBe(true)
      expect(DateTime.toEpochMillis(without.mysql.since)).toBeGreaterThan(DateTime.toEpochMillis(healthy.mysql.since))
      const health = WorkerStatus.health(without)
      expect(health).toMatchObject({ live: true, ready: false })
      expect(health.reasons).toEqual([
        expect.stringMatching(/^MySQL does not serve since 20.*Z: ConnectionLost \(E[A-Z]+\)$/)
      ])

      yield* redis.proxy.stall()
      const both = yield* until(worker.status, (status) => !status.redis.connected)
      expect(WorkerStatus.health(both).reasons.map((reason) => reason.slice(0, 5))).toEqual(["MySQL", "Redis"])

      yield* mysql.proxy.accept
      yield* redis.proxy.resume()
      const again = yield* until(worker.status, ({ mysql, redis }) => mysql.connected && redis.connected)
      expect(WorkerStatus.health(again)).toEqual({ live: true, ready: true, reasons: [] })
      // The failures are remembered.
      expect([again.mysql, again.redis].every(({ lastError }) => Option.isSome(lastError))).toBe(true)
    })))

  it.effect("handlers that have all connections of the pool for long are no outage", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments({ left: 2 })
      const { config } = yield* MysqlClient.MysqlClient
      const small = yield* Layer.build(MysqlClient.layer({ ...config, maxConnections: 2 }))
      yield* send(one, { account: 2, pence: 1 })
      const begun = yield* Effect.makeSemaphore(2)
      yield* begun.take(2)
      const worker = yield* Effect.provide(
        Worker.make(
          source(group, "a"),
          (payment) => Effect.zipRight(credit(payment), Effect.zipRight(begun.release(1), Effect.never)),
          { ...plain, concurrency: 2, drainTimeout: 1 }
        ),
        small
      )
      yield* begun.take(2)
      // It is asked meanwhile, and has no connection for it.
      const client = Context.get(small, MysqlClient.MysqlClient)
      expect((yield* Effect.exit(Effect.timeout(client`SELECT 1`, "8 seconds")))._tag).toBe("Failure")
      expect(WorkerStatus.health(yield* worker.status)).toEqual({ live: true, ready: true, reasons: [] })
    })))

  it.effect("a worker that handles knows at once that MySQL is away, and that it is back", () =>
    bench(Effect.gen(function*() {
      const { group, send } = yield* payments()
      const { behind, proxy } = yield* mysqlBehind
      yield* proxy.refuse
      yield* proxy.cut
      yield* send(one)
      const worker = yield* Effect.provide(
        Worker.make(source(group, "a"), credit, {
          ...plain,
          onFailure: () => ({ _tag: "Retry", schedule: Schedule.spaced("20 millis") })
        }),
        behind
      )
      yield* until(worker.status, (status) => !status.mysql.connected)
      yield* proxy.accept
      yield* worked(group)
      expect((yield* worker.status).mysql.connected).toBe(true)
      expect(yield* balance(1)).toBe(1)
    })))

  it.effect("a worker that has ended is not live, and one that drains not ready", () =>
    bench(Effect.gen(function*() {
      const { group } = yield* payments()
      const scope = yield* Scope.make()
      const worker = yield* Scope.extend(Worker.make(source(group, "a"), credit, plain), scope)
      yield* Scope.close(scope, Exit.void)
      expect(WorkerStatus.health(yield* worker.status)).toEqual({
        live: false,
        ready: false,
        reasons: ["The worker has stopped"]
      })
    })))

  it.effect("the relay tells whether it relays, waits, has failed or does not run, and makes no span while it is idle", () =>
    bench(Effect.gen(function*() {
      yield* Outbox.migration
      const { behind, proxy } = yield* redisBehind
      const stream = "health-" + Math.random()
      const spans: Array<string> = []
      const tracer = Tracer.make({
        span: (name, parent, context, links, startTime, kind) => {
          if (Option.isNone(parent)) spans.push(name)
          return {
            _tag: "Span",
            spanId: String(spans.length),
            traceId: "t",
            name,
            sampled: true,
            parent,
            context,
            links,
            kind,
            status: { _tag: "Started", startTime },
            attributes: new Map(),
            addLinks: () => {},
            attribute: () => {},
            end: () => {},
            event: () => {}
          }
        },
        context: (f) => f()
      })
      const status = OutboxRelay.status({ name: "orders" })
      expect((yield* status).state).toBe("stopped")
      const run = (name: string) =>
        OutboxRelay.run({ poll: Schedule.spaced("20 millis"), name }).pipe(
          Effect.retry(Schedule.spaced("20 millis")),
          Effect.provide(behind)
        )
      const relay = yield* Effect.fork(Effect.withTracer(run("orders"), tracer))
      yield* until(status, ({ state }) => state === "relaying")
      const other = yield* Effect.fork(run("others"))
      yield* until(OutboxRelay.status({ name: "others" }), ({ state }) => state === "waiting")
      const before = yield* status
      yield* until(status, ({ lastSuccess }) => Option.getOrThrow(lastSuccess) > Option.getOrThrow(before.lastSuccess))
      expect(spans).toEqual([])
      yield* Fiber.interrupt(other)

      yield* proxy.refuse
      yield* proxy.cut
      yield* Transaction.run(Outbox.append({ stream, schema: Schema.Int, value: 1 }))
      const failing = yield* until(status, ({ outage }) => Option.isSome(outage))
      expect(WorkerStatus.health(failing)).toMatchObject({
        live: true,
        ready: false,
        reasons: [expect.stringMatching(/^The relay cannot publish since 20.*Z: Redis/)]
      })
      yield* proxy.accept
      const again = yield* until(status, ({ outage }) => Option.isNone(outage))
      expect(WorkerStatus.health(again).ready).toBe(true)
      expect(spans.length).toBeGreaterThan(0)
      yield* Fiber.interrupt(relay)
      expect(yield* status).toMatchObject({ state: "stopped", partitions: 0 })
      expect(WorkerStatus.health(yield* status).ready).toBe(false)
    })))
})
