/**
 * What it costs a worker to be watched.
 *
 * @since 0.1.0
 */
import * as Otlp from "@safesync/opentelemetry/Otlp"
import * as Prometheus from "@safesync/opentelemetry/Prometheus"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Scope } from "effect/Scope"
import { once } from "node:events"
import type { Case, Contender, Target } from "../Benchmark.js"
import * as Child from "../Child.js"
import * as Driver from "../Driver.js"
import * as safesync from "../transactional/safesync.js"

const baseline = "metrics off"

/**
 * @since 0.1.0
 * @category cases
 */
export const cases: ReadonlyArray<Case> = [{
  name: "overhead",
  about:
    "`Worker.run` with the inbox, 8 at a time. `metrics off` is a build in which the modules that count and trace are " +
    "replaced by ones that do nothing; the exporters are those of `@safesync/opentelemetry`.",
  unit: "messages",
  compares: "throughput",
  count: { full: 12_000, quick: 6_000, smoke: 20 },
  // Of a few per cent a look tells nothing.
  quick: false,
  slices: 60,
  baseline,
  contenders: [
    { name: baseline, preload: "overhead/register", ...safesync.run(8) },
    { name: "metrics on, no exporter", targets: within(0.03), ...safesync.run(8) },
    { name: "Prometheus, scraped each second", targets: within(0.05), ...watched(scraped) },
    { name: "traces, 1 % recorded", ...watched(traced(0.01)) },
    { name: "traces, all recorded", ...watched(traced(1)) }
  ]
}]

// internal

/** Throughput is the machine's business as well as ours; processor time is less so. */
function within(part: number): ReadonlyArray<Target> {
  return [
    { of: "throughput", than: baseline, atLeast: 1 - part },
    { of: "CPU", than: baseline, atMost: 1 + part }
  ]
}

function watched(by: () => Effect.Effect<unknown, unknown, Scope>): Omit<Contender, "name"> {
  return { start: (place) => Effect.zipRight(by(), safesync.run(8).start(place)) }
}

/** A process beside this one, and where its collector listens. */
const neighbour = Effect.acquireRelease(
  Driver.promise(async () => {
    const child = Child.fork("overhead/neighbour", { env: {} })
    child.stderr!.pipe(process.stderr)
    const [endpoint] = await once(child, "message")
    return { child, endpoint: endpoint as string }
  }),
  ({ child }) => Effect.sync(() => child.disconnect())
)

function scraped(): Effect.Effect<unknown, unknown, Scope> {
  return Effect.zipWith(neighbour, Prometheus.listen({ port: 0 }), ({ child }, { port }) => {
    child.send(`http://127.0.0.1:${port}/metrics`)
  })
}

function traced(ratio: number): () => Effect.Effect<unknown, unknown, Scope> {
  // The tracer is set in the fiber that builds the layer, and that one does the work.
  return () =>
    Effect.flatMap(neighbour, ({ endpoint }) => Layer.build(Otlp.traces({ endpoint, serviceName: "overhead", ratio })))
}
