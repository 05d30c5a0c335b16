import * as Effect from "effect/Effect"
import { createServer, type IncomingMessage } from "node:http"
import type { AddressInfo } from "node:net"

export interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: ReadonlyArray<{ readonly key: string; readonly value: Record<string, unknown> }>
  readonly links: ReadonlyArray<{ readonly traceId: string; readonly spanId: string }>
}

/** What an OTLP collector would be sent, as long as the scope is open. */
export const collector = Effect.acquireRelease(
  Effect.async<{ readonly endpoint: string; readonly received: Received; readonly close: () => void }>((resume) => {
    const received = new Received()
    const server = createServer((request, response) => {
      void body(request).then((text) => {
        received.take(request, JSON.parse(text))
        response.writeHead(200, { "content-type": "application/json" }).end("{}")
      })
    })
    server.listen({ host: "127.0.0.1", port: 0 }, () =>
      resume(Effect.succeed({
        endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
        received,
        close: () => {
          server.close()
          server.closeAllConnections()
        }
      })))
  }),
  ({ close }) => Effect.sync(close)
)

const body = async (request: IncomingMessage): Promise<string> => {
  const parts: Array<Buffer> = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts).toString()
}

class Received {
  readonly spans: Array<Span> = []
  readonly metrics: Array<{ readonly name: string }> = []
  readonly services = new Set<string>()
  readonly authorizations = new Set<string>()

  take(request: IncomingMessage, message: any): void {
    this.authorizations.add(request.headers.authorization ?? "")
    for (const { resource, scopeMetrics = [], scopeSpans = [] } of message.resourceSpans ?? message.resourceMetrics) {
      for (const { key, value } of resource.attributes) if (key === "service.name") this.services.add(value.stringValue)
      for (const { spans } of scopeSpans) this.spans.push(...spans)
      for (const { metrics } of scopeMetrics) this.metrics.push(...metrics)
    }
  }

  named(name: string): ReadonlyArray<Span> {
    return this.spans.filter((span) => span.name === name)
  }
}
