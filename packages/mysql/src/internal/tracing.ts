/**
 * Spans by OpenTelemetry's conventions for databases. They are made only while somebody collects them: a tracer other than
 * Effect's own is there, and what goes on is recorded at all. Otherwise their cost is one comparison.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import * as MysqlClientTag from "@effect/sql-mysql2/MysqlClient"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Tracer from "effect/Tracer"
import { property, typeOf } from "./described.js"

type Attributes = Record<string, unknown>

/** Runs an effect in a span of its own. `attributes` are asked for only if there is one. */
export const span = <A, E, R>(
  name: string,
  kind: Tracer.SpanKind,
  attributes: (fiber: Fiber.RuntimeFiber<any, any>) => Attributes,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime((fiber) =>
    isRecorded(fiber)
      ? Effect.withSpan(Effect.tapErrorCause(effect, told), name, {
        kind,
        attributes: attributes(fiber),
        captureStackTrace: false
      }) as Effect.Effect<A, E, R>
      : effect
  )

/**
 * One that has no operation of its own: those of its statements and of COMMIT are inside. Of the body's failure it tells the
 * type alone: its words are the caller's, and may quote what no trace should show.
 */
export const transaction = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime<A, E, R>((fiber) => {
    if (!isRecorded(fiber)) return effect
    const client: MysqlClient | undefined = fiber.currentContext.unsafeMap.get(MysqlClientTag.MysqlClient.key)
    let failure: Cause.Cause<E> | undefined
    const body = Effect.catchAllCause(effect, (cause): Effect.Effect<never, E | BodyFailed> => {
      failure = cause
      return Cause.isInterruptedOnly(cause) ? Effect.failCause(cause) : Effect.fail(new BodyFailed(cause))
    })
    return Effect.catchAllCause(
      span(
        "transaction",
        "internal",
        () => client === undefined ? { "db.system.name": "mysql" } : server(client),
        body
      ),
      (cause) => Effect.failCause(failure ?? cause as Cause.Cause<never>)
    )
  })

export const operation = (name: string, database: string, table?: string): Attributes => ({
  "db.system.name": "mysql",
  "db.namespace": database,
  "db.operation.name": name,
  ...(table === undefined ? {} : { "db.collection.name": table })
})

/** What is added to a statement so that the server's own lists name the span: https://google.github.io/sqlcommenter/spec/ */
export const comment = (context: Context.Context<never>): string | undefined => {
  const open: Tracer.AnySpan | undefined = context.unsafeMap.get(Tracer.ParentSpan.key)
  // Ids of other tracers are anything; what ends the comment must not be in it.
  return open?.sampled === true && /^[\da-f]{32}$/.test(open.traceId) && /^[\da-f]{16}$/.test(open.spanId)
    ? ` /*traceparent='00-${open.traceId}-${open.spanId}-01'*/`
    : undefined
}

// internal

const native = Context.get(DefaultServices.liveServices, Tracer.Tracer)

const isRecorded = (fiber: Fiber.RuntimeFiber<any, any>): boolean =>
  fiber.currentTracer !== native && fiber.currentContext.unsafeMap.get(Tracer.ParentSpan.key)?.sampled !== false

class BodyFailed extends Error {
  readonly _tag: string
  readonly errno: number | undefined
  constructor(cause: Cause.Cause<unknown>) {
    const type = errorType(cause)
    super(type)
    this._tag = type
    this.errno = errnoOf(cause)
  }
}

/** What COMMIT fails with carries the error. */
const errorOf = (cause: Cause.Cause<unknown>): unknown => {
  const error = Cause.squash(cause)
  return property(error, "error") ?? error
}

/** The tag, or the class; never a message, which may hold values. */
const errorType = (cause: Cause.Cause<unknown>): string => {
  if (Cause.isInterruptedOnly(cause)) return "interrupted"
  return typeOf(errorOf(cause))
}

const errnoOf = (cause: Cause.Cause<unknown>): number | undefined => {
  const error = errorOf(cause)
  return [error, property(error, "cause")].map((_) => property(_, "errno")).find(Predicate.isNumber)
}

/** https://opentelemetry.io/docs/specs/semconv/database/database-spans/ */
const told = (cause: Cause.Cause<unknown>): Effect.Effect<void> => {
  const errno = errnoOf(cause)
  return Effect.annotateCurrentSpan({
    "error.type": errorType(cause),
    ...(errno === undefined ? {} : { "db.response.status_code": String(errno) })
  })
}

const servers = new WeakMap<MysqlClient, Attributes>()

const server = (client: MysqlClient): Attributes => {
  let known = servers.get(client)
  if (known === undefined) {
    const { database, host, port, url } = client.config
    const text = url === undefined ? "" : Redacted.value(url)
    const parsed = URL.canParse(text) ? new URL(text) : undefined
    known = {
      "db.system.name": "mysql",
      "db.namespace": parsed?.pathname.slice(1) || (database ?? ""),
      "server.address": parsed?.hostname || (host ?? "localhost"),
      "server.port": Number(parsed?.port || (port ?? 3306))
    }
    servers.set(client, known)
  }
  return known
}
