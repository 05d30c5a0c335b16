/**
 * What the instrumentation of a worker costs: `npm run bench --workspace @safesync/opentelemetry`. Variants take turns,
 * each run in a fresh process against the same servers; the medians are compared with the build without instrumentation.
 *
 * Throughput is the machine's business as well as ours; processor time for each message is less so.
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import * as Inbox from "@safesync/mysql/Inbox"
import * as ConsumerGroup from "@safesync/redis-streams/ConsumerGroup"
import * as Redis from "@safesync/redis-streams/Redis"
import * as StreamProducer from "@safesync/redis-streams/StreamProducer"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { collector } from "../collector.js"
import type { Cost } from "./worker.js"

const number = (name: string, fallback: number) => Number(process.env[name] ?? fallback)
const rounds = number("ROUNDS", 7)
const messages = number("MESSAGES", 8_000)
const warmUp = number("WARM_UP", 2_000)
const port = 19_464

interface Variant {
  readonly name: string
  readonly bare?: boolean
  readonly variables?: (collector: string) => Record<string, string>
  readonly scrapes?: boolean
}

const prometheus = { OTEL_METRICS_EXPORTER: "prometheus", OTEL_EXPORTER_PROMETHEUS_PORT: String(port) }
const traces = (endpoint: string, ratio: string) => ({
  OTEL_TRACES_EXPORTER: "otlp",
  OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
  OTEL_TRACES_SAMPLER_ARG: ratio
})

const variants: ReadonlyArray<Variant> = [
  { name: "without instrumentation", bare: true },
  { name: "no exporter" },
  { name: "Prometheus, scraped each second", variables: () => prometheus, scrapes: true },
  { name: "traces, 1 % recorded", variables: (endpoint) => traces(endpoint, "0.01") },
  { name: "traces, all recorded", variables: (endpoint) => traces(endpoint, "1") }
]

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url))

/** Fresh tables and a fresh stream for each run: none finds what an earlier one has left. */
const prepare = (run: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient
    yield* Inbox.migration
    yield* sql`TRUNCATE TABLE safesync_inbox`
    yield* sql`CREATE TABLE IF NOT EXISTS account (id INT PRIMARY KEY, balance INT NOT NULL)`
    const rows = Array.from({ length: 1_000 }, (_, id) => `(${id}, 0)`).join(",")
    yield* sql`REPLACE INTO account VALUES ${sql.literal(rows)}`
    const stream = `overhead-${run}`
    const schema = Schema.Struct({ account: Schema.Int, pence: Schema.Int })
    const group = yield* ConsumerGroup.make({ stream, group: "g", schema, startId: "0", minIdle: "1 minute" })
    yield* ConsumerGroup.create(group)
    const producer = yield* StreamProducer.make({ stream, schema })
    const payments = Array.from({ length: warmUp + messages }, (_, i) => ({ account: (i * 37) % 1_000, pence: 1 }))
    yield* StreamProducer.sendAll(producer, payments)
    return stream
  })

const measure = (variant: Variant, stream: string, endpoint: string) =>
  Effect.gen(function*() {
    const { config } = yield* MysqlClient.MysqlClient
    const url = new URL(Redacted.value((yield* MysqlServer.MysqlServer).url))
    url.pathname = `/${config.database}`
    const redis = Redacted.value((yield* RedisServer.RedisServer).url)
    return yield* Effect.async<Cost, Error>((resume) => {
      const child = fork(file("./worker.js"), {
        execArgv: variant.bare === true ? ["--import", file("./register.js")] : [],
        env: {
          ...process.env,
          ...variant.variables?.(endpoint),
          SETTINGS: JSON.stringify({ mysql: url.href, redis, stream, messages, warmUp })
        }
      })
      const scraping = variant.scrapes !== true ? undefined : setInterval(() => {
        fetch(`http://127.0.0.1:${port}/metrics`).then((_) => _.text()).catch(() => {})
      }, 1_000)
      let cost: Cost | undefined
      child.on("message", (message) => {
        cost = message as Cost
      })
      child.once("exit", (code) => {
        clearInterval(scraping)
        resume(cost === undefined ? Effect.fail(new Error(`The worker ended with ${code}`)) : Effect.succeed(cost))
      })
      return Effect.sync(() => void child.kill("SIGKILL"))
    })
  })

const median = (values: ReadonlyArray<number>): number => values.toSorted((a, b) => a - b)[values.length >> 1]!

const program = Effect.gen(function*() {
  const { endpoint } = yield* collector
  const costs = variants.map((): Array<Cost> => [])
  let run = 0
  for (let round = 0; round < rounds; round++) {
    // Each round begins with another one, so that none is always the first after a pause.
    for (let i = 0; i < variants.length; i++) {
      const at = (i + round) % variants.length
      const cost = yield* measure(variants[at]!, yield* prepare(run++), endpoint)
      costs[at]!.push(cost)
      process.stderr.write(
        `round ${round + 1}/${rounds} ${variants[at]!.name}: ${cost.messagesPerSecond.toFixed(0)} messages/s, ` +
          `${cost.cpuMicros.toFixed(0)} µs of processor a message\n`
      )
    }
  }
  const medians = costs.map((_) => ({
    rate: median(_.map((cost) => cost.messagesPerSecond)),
    cpu: median(_.map((cost) => cost.cpuMicros))
  }))
  const base = medians[0]!
  const percent = (value: number, of: number) => `${value >= of ? "+" : ""}${((value / of - 1) * 100).toFixed(1)} %`
  for (const [i, { cpu, rate }] of medians.entries()) {
    process.stdout.write(
      `${variants[i]!.name.padEnd(32)} ${rate.toFixed(0).padStart(7)} messages/s ${
        percent(rate, base.rate).padStart(9)
      }   ` +
        `${cpu.toFixed(0).padStart(5)} µs of processor a message ${percent(cpu, base.cpu).padStart(9)}\n`
    )
  }
})

void Effect.runPromise(program.pipe(
  Effect.scoped,
  Effect.provide(
    Layer.mergeAll(
      MysqlServer.database(),
      Layer.unwrapEffect(Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url })))
    ).pipe(Layer.provideMerge(Layer.merge(MysqlServer.layer, RedisServer.layer)))
  )
))
