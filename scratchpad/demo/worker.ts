/**
 * The entry of a worker process. It ends by SIGTERM, after what runs is committed and acked, and at once when the demo is no
 * longer there.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as MysqlMetrics from "@safesync/mysql/MysqlMetrics"
import * as Prometheus from "@safesync/opentelemetry/Prometheus"
import * as GroupMetrics from "@safesync/redis-streams/GroupMetrics"
import * as Redis from "@safesync/redis-streams/Redis"
import * as RedisMetrics from "@safesync/redis-streams/RedisStreamsMetrics"
import * as StreamConsumer from "@safesync/redis-streams/StreamConsumer"
import * as Disposition from "@safesync/worker/Disposition"
import * as Worker from "@safesync/worker/Worker"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Handler from "./Handler.js"
import * as Messages from "./Messages.js"

const concurrency = 8

/** Handlers of a batch that waits are not begun before their lease is a third over, or each asks the server about it. */
const batchSize = 32

// Without the demo nobody stops this process and its servers are gone.
process.on("disconnect", () => process.exit(1))
if (!process.connected) process.exit(1)

const tell = (counters: Messages.Counters): Effect.Effect<void> =>
  Effect.sync(() => process.connected && process.send!(counters))

/** Soon at first, then every 50 ms, and never in step with whom it has lost against. */
const patiently = Schedule.jittered(Schedule.exponential("2 millis", 1.5)).pipe(
  Schedule.union(Schedule.spaced("50 millis")),
  Schedule.intersect(Schedule.recurs(200))
)

/** For as long as it takes: the demo looks after its servers. */
const reconnect = Schedule.exponential("100 millis").pipe(Schedule.union(Schedule.spaced("2 seconds")))

const count = (metric: Metric.Metric.Counter<number>): Effect.Effect<number> =>
  Effect.map(Metric.value(metric), ({ count }) => count)

/** The library's own metrics, as an exporter would read them. */
const counters = (stream: string): Effect.Effect<Messages.Counters> =>
  Effect.all({
    redelivered: count(Metric.tagged(RedisMetrics.messagesClaimed, "stream", stream)),
    duplicates: count(MysqlMetrics.inboxDuplicates),
    retries: count(Metric.tagged(MysqlMetrics.transactions, "outcome", "rolled_back")),
    conflicts: count(Metric.tagged(MysqlMetrics.occConflicts, "table", "product_figures"))
  })

const program = Effect.gen(function*() {
  const { consumer, metricsPort, mysqlUrl, redisUrl, stream } = yield* Effect.flatMap(
    Config.string(Messages.settingsVariable),
    Schema.decode(Schema.parseJson(Messages.Settings))
  )
  yield* Effect.gen(function*() {
    const group = yield* Messages.consumerGroup(stream)
    const report = Effect.flatMap(counters(stream), tell)
    yield* Effect.forkScoped(Effect.repeat(report, Schedule.spaced("250 millis")))
    if (metricsPort !== undefined) {
      yield* Prometheus.listen({ port: metricsPort })
      yield* Effect.forkScoped(GroupMetrics.report(group, { every: Schedule.spaced("1 second") }))
    }
    yield* Worker.run(
      StreamConsumer.stream(group, { consumer, batchSize, reconnect, reclaim: { every: Schedule.spaced("1 second") } }),
      Handler.apply,
      {
        concurrency,
        // They would wait for each other at the invoice's lock, each with a connection. Those of other workers still do.
        key: (line) => line.invoiceNo,
        // The line, not the entry: a line that was sent twice is two entries.
        inbox: (line) => String(line.line),
        transaction: { isolation: "read-committed", retry: patiently },
        onFailure: (cause) =>
          Option.exists(Cause.failureOption(cause), mayPass)
            ? Disposition.retry(Schedule.intersect(Schedule.spaced("500 millis"), Schedule.recurs(20)))
            : Disposition.deadLetter,
        drainTimeout: "5 seconds"
      }
    ).pipe(Effect.ensuring(report))
  }).pipe(
    Effect.scoped,
    Effect.provide(Layer.mergeAll(
      MysqlClient.layer({ url: mysqlUrl, maxConnections: concurrency }),
      Redis.layer({ url: redisUrl }),
      // Nobody collects spans here, and Effect makes one for each statement otherwise.
      Layer.setTracerEnabled(false)
    ))
  )
})

/** Whether another try may succeed. It will not where the line refers to nothing, or where a statement is wrong. */
const mayPass = (error: Worker.Failure<Handler.HandlerError>): boolean =>
  error._tag !== "ReferenceMissing" && error._tag !== "RowMissing" && error._tag !== "StatementFailed"

NodeRuntime.runMain(
  program.pipe(
    Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger)))
  ),
  { disablePrettyLogger: true }
)
