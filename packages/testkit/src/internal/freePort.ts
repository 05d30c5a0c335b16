import * as Effect from "effect/Effect"
import { createServer } from "node:net"

const isFree = (port: number): Effect.Effect<boolean> =>
  Effect.async((resume) => {
    const server = createServer()
    server.once("error", () => resume(Effect.succeed(false)))
    server.listen({ port, host: "127.0.0.1" }, () => server.close(() => resume(Effect.succeed(true))))
  })

/**
 * A port of loopback that was free a moment ago. It lies below the range from which systems take the ports of outgoing
 * connections: a server that is down for a while must find its port free again, and a client that keeps
 * connecting to a port of that range while nobody listens can end up connected to itself.
 */
export const freePort: Effect.Effect<number> = Effect.suspend(() => {
  const port = 12_000 + Math.floor(Math.random() * 20_000)
  return Effect.flatMap(isFree(port), (free) => free ? Effect.succeed(port) : freePort)
})
