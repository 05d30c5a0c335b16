/**
 * L22, L23: the crash matrix. At each point of a message's way through a worker, before it and after it with the answer lost,
 * each fault: the worker, MySQL or Redis killed, the network cut or stalled. Four worker processes work on; then every
 * message has been applied, once, and nothing is stuck.
 *
 * @since 0.1.0
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as Inbox from "@safesync/mysql/Inbox"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import type { Outcome, Scenario, Settings } from "./Scenario.js"
import * as Seeded from "./Seeded.js"
import * as ServerState from "./ServerState.js"
import { arm, type Cell, cells, name, strike } from "./WorkerCrashFault.js"
import * as Process from "./WorkerCrashProcess.js"

/**
 * @since 0.1.0
 * @category scenarios
 */
export const scenario: Scenario = {
  name: "worker",
  description:
    "Every crash point of a worker under every fault: each message is applied once, and none is stuck (L22, L23)",
  unit: "runs of each cell",
  runs: 20,
  run: (settings) => matrix(settings, cells)
}

/**
 * @since 0.1.0
 * @category scenarios
 */
export const matrix = (settings: Settings, cells: ReadonlyArray<Cell>): Effect.Effect<Outcome, Error> =>
  Effect.provide(Effect.scoped(run(settings, cells)), services) as Effect.Effect<Outcome, Error>

// internal

const workers = 4
const atOnce = 3
const messages = 40
/** So many that the rows which a held worker has locked are hardly ever those that another needs to come to its own point. */
const accounts = 1_000
const within = "45 seconds"

const services = Layer.merge(
  MysqlServer.database({ maxConnections: 2 }),
  Layer.unwrapEffect(Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url })))
).pipe(Layer.provideMerge(Layer.merge(MysqlServer.layerOwn(), RedisServer.layerOwn({ appendonly: true }))))

const run = (settings: Settings, cells: ReadonlyArray<Cell>) =>
  Effect.gen(function*() {
    const mysql = yield* MysqlServer.MysqlServer
    const redis = yield* RedisServer.RedisServer
    const servers = { mysql: Option.getOrThrow(mysql.control), redis: Option.getOrThrow(redis.control) }
    const sql = yield* SqlClient
    yield* Inbox.migration
    yield* sql`CREATE TABLE account (id INT PRIMARY KEY, balance BIGINT NOT NULL, note VARCHAR(20))`
    yield* sql`CREATE TABLE ledger (id BIGINT PRIMARY KEY AUTO_INCREMENT, number BIGINT NOT NULL, account INT NOT NULL,
      pence INT NOT NULL, note VARCHAR(20), KEY (number))`
    yield* sql`INSERT INTO account ${sql.insert(Array.from({ length: accounts }, (_, id) => ({ id, balance: 0 })))}`
    const stream = "payments"
    const group = yield* Process.consumerGroup(stream)
    const producer = yield* StreamProducer.make({ stream, schema: Process.Payment })
    yield* ConsumerGroup.create(group)
    const { config } = yield* MysqlClient.MysqlClient
    const database = new URL(Redacted.value(mysql.url))
    database.pathname = `/${config.database}`
    const urls = { mysql: Redacted.make(database.href), redis: redis.url }
    const names = Array.from({ length: workers }, (_, i) => `worker-${i + 1}`)
    const hands = yield* Effect.forEach(names, (name) => Process.make(name, stream, urls))
    yield* Effect.forEach(hands, ({ start }) => start, { concurrency: "unbounded" })

    const failures: Array<string> = []
    let sent = 0
    let pence = 0
    let done = 0
    let sprung = 0

    const send = (random: Seeded.Seeded) =>
      Effect.suspend(() => {
        const payments = Array.from({ length: messages }, () => {
          const payment = { number: ++sent, account: random.between(0, accounts - 1), pence: random.between(1, 999) }
          pence += payment.pence
          return payment
        })
        return StreamProducer.sendAll(producer, payments)
      })

    const settled = Effect.catchAll(
      Effect.map(ConsumerGroup.info(group), ({ lag, pending }) => Option.contains(lag, 0) && pending === 0),
      () => Effect.succeed(false)
    )
    /** Every worker asks for messages: one that is still connecting gets none, and does not come to its point. */
    const reading = Effect.catchAll(
      Effect.map(
        ConsumerGroup.info(group),
        ({ consumers }) =>
          names.every((worker) =>
            consumers.some(({ idle, name }) => name === worker && Duration.lessThan(idle, "1 second"))
          )
      ),
      () => Effect.succeed(false)
    )
    const audit = onFreshConnection(Effect.flatMap(SqlClient, (sql) =>
      sql<{ total: number; distinct: number; pence: string; balance: string }>`
        SELECT COUNT(*) AS total, COUNT(DISTINCT number) AS \`distinct\`, SUM(pence) AS pence,
          (SELECT SUM(balance) FROM account) AS balance FROM ledger`))

    /** Several faults at a time, each on a worker of its own; one worker has none. */
    const step = (round: number, together: ReadonlyArray<Cell>) =>
      Effect.gen(function*() {
        yield* Effect.forEach(hands, (hand) =>
          hand.alive() ? Effect.void : hand.start, { concurrency: "unbounded" })
        yield* ServerState.within(within, reading, (yes) => yes)
        const traps = yield* Effect.forEach(together, (cell, i) => arm(cell, hands[(round + i) % workers]!))
        const random = Seeded.make(settings.seed, round, ...together.map(name))
        // Nothing is struck before all of them are at their points, so that the servers hear of every message. Which worker
        // gets one is theirs to say: there is more until each has come by.
        const reached = yield* Effect.raceFirst(
          Effect.forEach(traps, ({ sprung }) => sprung, { concurrency: "unbounded" }),
          Effect.zipRight(
            Effect.repeat(Effect.uninterruptible(send(random)), Schedule.spaced("250 millis")),
            Effect.never
          )
        )
        sprung += reached.filter((yes) => yes).length
        traps.forEach(({ cell }, i) => {
          if (!reached[i]) failures.push(`round ${round + 1}, ${name(cell)}: the worker did not come to this point`)
        })
        yield* Effect.forEach(traps, ({ cell, hand }) => strike(cell, hand, servers), { concurrency: "unbounded" })
        done += traps.length
        const over = yield* ServerState.within(within, settled, (yes) => yes)
        const what = `round ${round + 1}, ${together.map(name).join("; ")}`
        if (!over) {
          failures.push(`${what}: stuck`)
          yield* Effect.forEach(hands, ({ start }) => start, { concurrency: "unbounded" })
          yield* ServerState.within(within, settled, (yes) => yes)
        }
        const [books] = yield* audit
        const lost = sent - Number(books!.distinct)
        const twice = Number(books!.total) - Number(books!.distinct)
        if (lost !== 0) failures.push(`${what}: ${lost} lost`)
        if (twice !== 0) failures.push(`${what}: ${twice} applied twice`)
        if (Number(books!.pence) !== pence || Number(books!.balance) !== pence) {
          failures.push(
            `${what}: sent ${pence} pence, in the ledger ${books!.pence}, in the accounts ${books!.balance}`
          )
        }
        settings.progress.update(round, `${done}/${settings.runs * cells.length} faults, ${sent} messages`)
      })

    for (let round = 0; round < settings.runs && failures.length < 10; round++) {
      const order = shuffled(cells, Seeded.make(settings.seed, "order", round))
      for (let i = 0; i < order.length && failures.length < 10; i += atOnce) {
        yield* step(round, order.slice(i, i + atOnce))
      }
      settings.progress.update(round + 1, `${done}/${settings.runs * cells.length} faults, ${sent} messages`)
    }
    const outcome: Outcome = {
      figures: [
        ["worker processes", workers],
        ["cells: point × before/after × fault", cells.length],
        ["faults at a time, each on another worker", atOnce],
        ["faults", done],
        ["- at their point to the packet", sprung],
        ["messages", sent],
        ["lost, applied twice, stuck, or without effect", failures.length]
      ],
      failures
    }
    return outcome
  })

const shuffled = <A>(of: ReadonlyArray<A>, random: Seeded.Seeded): ReadonlyArray<A> =>
  of.map((a) => [random.number(), a] as const).sort(([a], [b]) => a - b).map(([, a]) => a)

/** The pool's connections may be those of a server that is dead. */
const onFreshConnection = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.scoped(Effect.flatMap(ServerState.secondClient(), (client) => ServerState.using(client)(effect)))
