/**
 * All metrics of the process, as a Prometheus server reads them.
 *
 * They come out under exactly the names and labels that they have in Effect: no unit or `_total` is added, no label says
 * which library they are from. So they do not go through OpenTelemetry's SDK, whose Prometheus exporter does all of that;
 * the text format is a page long. What is not scraped costs nothing: metrics are read when somebody asks.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import * as exposition from "./internal/exposition.js"

/**
 * The port or address could not be taken.
 *
 * @since 0.1.0
 * @category errors
 */
export class EndpointUnavailable
  extends Schema.TaggedError<EndpointUnavailable>("@safesync/opentelemetry/EndpointUnavailable")(
    "EndpointUnavailable",
    { host: Schema.String, port: Schema.Number, cause: Schema.Defect }
  )
{
  override get message() {
    return `The metrics cannot be offered at ${this.host}:${this.port}: ${(this.cause as Error).message}`
  }
}

/**
 * Where the endpoint listens.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** 0 takes any that is free. */
  readonly port: number
  /** The address to listen on. Default: `127.0.0.1`; `0.0.0.0` lets everybody read, who can reach this machine. */
  readonly host?: string | undefined
}

/**
 * All metrics of the process in Prometheus' text format, for a server of one's own: answer with `contentType`.
 *
 * @since 0.1.0
 * @category formats
 */
export const text: Effect.Effect<string> = Effect.sync(exposition.text)

/**
 * The media type of `text`.
 *
 * @since 0.1.0
 * @category formats
 */
export const contentType: string = "text/plain; version=0.0.4; charset=utf-8"

/**
 * Offers the metrics over HTTP at `/metrics` for as long as the scope is open, and says at which port. Fails with
 * `EndpointUnavailable` where the port or address cannot be taken.
 *
 * @example
 * import * as Prometheus from "@safesync/opentelemetry/Prometheus"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const { port } = yield* Prometheus.listen({ port: 0 })
 *   yield* Effect.log(`http://127.0.0.1:${port}/metrics`)
 *   yield* Effect.never
 * }))
 *
 * @since 0.1.0
 * @category constructors
 */
export const listen = (
  options: Options
): Effect.Effect<{ readonly port: number }, EndpointUnavailable, Scope.Scope> => {
  const { host = "127.0.0.1", port } = options
  return Effect.map(
    Effect.acquireRelease(
      Effect.async<Server, EndpointUnavailable>((resume) => {
        const server = createServer((request, response) => {
          if (request.url?.split("?")[0] !== "/metrics") return response.writeHead(404).end()
          if (request.method !== "GET" && request.method !== "HEAD") return response.writeHead(405).end()
          response.writeHead(200, { "content-type": contentType }).end(exposition.text())
        })
        // Later it is a connection that could not be accepted, for lack of file descriptors say: whoever asks for metrics asks again.
        server.on("error", (cause) => resume(Effect.fail(new EndpointUnavailable({ host, port, cause }))))
        server.listen({ host, port }, () => resume(Effect.succeed(server)))
        // A process that has nothing else to do may end.
        server.unref()
      }),
      (server) =>
        Effect.async<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    ),
    (server) => ({ port: (server.address() as AddressInfo).port })
  )
}

/**
 * `listen`, as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<never, EndpointUnavailable> =>
  Layer.scopedDiscard(Effect.flatMap(
    listen(options),
    ({ port }) => Effect.logDebug(`Metrics at http://${options.host ?? "127.0.0.1"}:${port}/metrics`)
  ))

/**
 * `layer` with its options from a `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options>
): Layer.Layer<never, EndpointUnavailable | ConfigError.ConfigError> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(options), layer))
