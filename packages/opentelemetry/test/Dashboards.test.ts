import { expect, layer } from "@effect/vitest"
import * as Outbox from "@safesync/mysql/Outbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as Redis from "@safesync/redis-streams/Redis"
import { until } from "@safesync/testkit/Eventually"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as PrometheusServer from "@safesync/testkit/PrometheusServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { readFileSync } from "node:fs"
import { createServer } from "node:net"
import { fileURLToPath } from "node:url"
import { payments, RedisLive, run, Servers } from "./fixture.js"

const path = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url))
const rules = path("prometheus/safesync.rules.yml")
const runbook = readFileSync(path("RUNBOOK.md"), "utf8")

const dashboard = JSON.parse(readFileSync(path("grafana/safesync.json"), "utf8"))

/** The expressions of all panels, as Grafana would send them for some job and some stream: a series without the label is none. */
const panels: ReadonlyArray<string> = dashboard.panels
  .flatMap((panel: any) => panel.targets ?? [])
  .map(({ expr }: { readonly expr: string }) =>
    expr.replaceAll("$__rate_interval", "1m").replaceAll(/\$(?:job|stream)/g, ".+")
  )

/** What its variables choose from: the label, and the series that have it. */
const variables: ReadonlyArray<{ readonly name: string; readonly series: string; readonly label: string }> = dashboard
  .templating.list.flatMap(({ name, query, type }: any) => {
    if (type !== "query") return []
    const [, series, label] = /^label_values\((.+), (\w+)\)$/.exec(query.query)!
    return [{ name, series, label }]
  })

interface Rule {
  readonly name: string
  readonly query: string
  readonly labels: Record<string, string>
  readonly annotations: Record<string, string>
}

const loadedRules = (url: string) =>
  Effect.promise(async (): Promise<ReadonlyArray<Rule>> => {
    const answer = await (await fetch(`${url}/api/v1/rules`)).json() as {
      readonly data: { readonly groups: ReadonlyArray<{ readonly rules: ReadonlyArray<Rule> }> }
    }
    return answer.data.groups.flatMap(({ rules }) => rules)
  })

/** Each metric of an expression, with its selector and the labels that the expression groups by. */
const selectors = (expression: string): ReadonlyArray<string> => {
  const grouped = [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, names]) => names!.split(/,\s*/))
  return [...expression.matchAll(/(coti_safesync_\w+)(?:\{([^}]*)\})?/g)].map(([, name, selector]) => {
    const present = new Set(grouped.filter((label) => label !== ""))
    return `${name}{${
      [selector ?? "", ...[...present].map((label) => `${label}!=""`)].filter((_) => _ !== "").join(",")
    }}`
  })
}

const freePort = Effect.async<number>((resume) => {
  const server = createServer()
  server.listen({ host: "127.0.0.1", port: 0 }, () => {
    const { port } = server.address() as { readonly port: number }
    server.close(() => resume(Effect.succeed(port)))
  })
})

layer(Servers, { excludeTestServices: true })("dashboard and alerts", (it) => {
  it.effect(
    "whatever the dashboard and the rules ask for, a Prometheus that scrapes a running worker has",
    () =>
      Effect.gen(function*() {
        const { balance, settings } = yield* payments([1, 1, 1, -1])
        const told = `${settings.stream}-told`
        const redis = yield* Redis.Redis
        yield* Effect.addFinalizer(() => Effect.ignore(redis.command("DEL", told)))
        yield* Transaction.run(Outbox.append({ stream: told, schema: Schema.Int, value: 1 }))
        const port = yield* freePort
        yield* run("worker", settings, {
          OTEL_METRICS_EXPORTER: "prometheus",
          OTEL_EXPORTER_PROMETHEUS_PORT: String(port)
        })
        yield* run("producer", settings, {})
        yield* until(balance, (n) => n === 3)
        yield* Effect.gen(function*() {
          const prometheus = yield* PrometheusServer.PrometheusServer
          const dead = `coti_safesync_queue_dead_letters{stream="${settings.stream}"} == 1`
          yield* until(prometheus.query(dead), (_) => _.length === 1)
          const alerts = yield* loadedRules(prometheus.url)
          expect(alerts.length).toBeGreaterThan(5)
          const expressions = [...panels, ...alerts.map(({ query }) => query)]
          expect(expressions.length).toBeGreaterThan(40)
          const missing: Array<string> = []
          for (const expression of expressions) {
            // the expression itself is one that Prometheus understands
            yield* prometheus.query(expression)
            const asked = selectors(expression)
            expect(asked.length).toBeGreaterThan(0)
            for (const selector of asked) {
              if ((yield* prometheus.query(`count(${selector})`)).length === 0) missing.push(selector)
            }
          }
          expect([...new Set(missing)]).toEqual([])
          // what can be chosen from is what the panels have: a service without MySQL, or without Redis, too
          expect(variables.map(({ name }) => name)).toEqual(["job", "stream"])
          for (const { label, name, series } of variables) {
            const found = yield* prometheus.query(`group by (__name__, ${label}) (${series})`)
            const chosenFrom = new Set(
              found.flatMap(({ metric }) => metric[label] === undefined ? [] : metric["__name__"])
            )
            const used = new Set(expressions.flatMap(selectors).filter((_) => _.includes(`${name}=`)))
            expect(used.size).toBeGreaterThan(10)
            expect([...used].map((_) => _.split("{")[0]).filter((metric) => !chosenFrom.has(metric!))).toEqual([])
          }
          // the known names, as they are, and with nothing but their labels
          const [write] = yield* prometheus.query("coti_safesync_db_write_total{table=\"account\", status=\"success\"}")
          expect(write).toMatchObject({ value: 3 })
          expect(new Set(Object.keys(write!.metric))).toEqual(
            new Set(["__name__", "instance", "job", "table", "op_type", "status"])
          )
          // what has not happened yet is there at 0, so that the first time is seen
          const [stopped] = yield* prometheus.query("coti_safesync_worker_deliveries_total{disposition=\"stop\"}")
          expect(stopped).toMatchObject({ metric: { stream: settings.stream }, value: 0 })
          const [acked] = yield* prometheus.query("coti_safesync_queue_messages_ack_total")
          expect(acked).toMatchObject({ metric: { stream: settings.stream }, value: 3 })
        }).pipe(Effect.provide(PrometheusServer.layerOwn({ targets: [`127.0.0.1:${port}`], rules: [rules] })))
      }).pipe(Effect.scoped, Effect.provide(Layer.merge(MysqlServer.database(), RedisLive))),
    120_000
  )

  it.effect(
    "promtool finds the rules right, and they fire when they should and not before",
    () =>
      Effect.gen(function*() {
        expect(yield* PrometheusServer.promtool("check", "rules", rules)).toContain("SUCCESS")
        expect(yield* PrometheusServer.promtool("test", "rules", path("prometheus/safesync.rules.test.yml"))).toContain(
          "SUCCESS"
        )
      }),
    120_000
  )

  it.effect("every alert says what to do", () =>
    Effect.sync(() => {
      const text = readFileSync(rules, "utf8")
      const names = [...text.matchAll(/- alert: (\w+)/g)].map(([, name]) => name!)
      const sections = [...runbook.matchAll(/^## (\w+)\n\n[^#]{100,}/gm)].map(([, name]) => name!)
      expect(sections).toEqual(names)
      const links = [...text.matchAll(/runbook_url: \S+\/packages\/opentelemetry\/RUNBOOK\.md#(\w+)/g)]
      expect(links.map(([, anchor]) => anchor)).toEqual(names.map((name) => name.toLowerCase()))
    }))
})
