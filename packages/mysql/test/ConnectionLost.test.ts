import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import type { TcpProxy } from "@safesync/testkit/TcpProxy"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Scope } from "effect/Scope"
import * as Net from "node:net"
import { expectTold, secret, statement, tables } from "./errors.js"
import {
  anotherClient,
  connectionId,
  failure,
  inDatabase,
  kill,
  outside,
  throughProxy,
  untilLockWait
} from "./support.js"

const refusedConnections: Record<
  string,
  () => Effect.Effect<NonNullable<Parameters<typeof anotherClient>[0]>, never, Scope>
> = {
  "nobody listens": () => Effect.succeed({ port: 1 }),
  "an unknown host": () => Effect.succeed({ host: "no-such-host.invalid" }),
  "a server that hangs up": () => Effect.map(listening((socket) => socket.end()), (port) => ({ port })),
  "no server of MySQL": () =>
    Effect.map(listening((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")), (port) => ({ port })),
  "a certificate that nobody vouches for": () => Effect.succeed({ poolConfig: { ssl: {} } }),
  "no answer within connectTimeout": () =>
    Effect.map(listening(() => {}), (port) => ({ port, poolConfig: { connectTimeout: 100 } }))
}

const listening = (accept: (socket: Net.Socket) => void) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.async<Net.Server>((resume) => {
        const server = Net.createServer((socket) => accept(socket.on("error", () => {})))
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.sync(() => server.close())
    ),
    (server) => (server.address() as Net.AddressInfo).port
  )

layer(MysqlServer.layer, { excludeTestServices: true })("ConnectionLost", (it) => {
  for (const [name, options] of Object.entries(refusedConnections)) {
    it.effect(`L6: ${name}`, () =>
      inDatabase(Effect.gen(function*() {
        expectTold(yield* Effect.exit(MysqlError.refail(anotherClient(yield* options()))), { tag: "ConnectionLost" })
      })))
  }

  const lose = (
    how: (proxy: TcpProxy, id: number) => Effect.Effect<unknown, unknown, MysqlServer.MysqlServer>
  ) =>
    inDatabase(Effect.gen(function*() {
      yield* tables
      const exit = yield* throughProxy((proxy) =>
        Effect.gen(function*() {
          const id = yield* Deferred.make<number>()
          const fiber = yield* Effect.fork(Effect.exit(Transaction.run(Effect.gen(function*() {
            yield* Deferred.succeed(id, yield* connectionId)
            return yield* statement((sql) => sql`SELECT * FROM customer WHERE name = ${secret} AND SLEEP(30)`)
          }))))
          const known = yield* Deferred.await(id)
          yield* outside(untilLockWait)
          yield* how(proxy, known)
          const exit = yield* Fiber.join(fiber)
          // The server does not notice that nobody waits for the answer any more.
          yield* Effect.ignore(Effect.sandbox(kill(known)))
          return exit
        })
      )
      expectTold(exit, { tag: "ConnectionLost", statement: "WHERE name = ? AND SLEEP(30)" })
    }))

  it.effect("L6: the connection is cut while a statement runs", () => lose((proxy) => proxy.cut))
  it.effect("L6: the connection is killed while a statement runs", () => lose((_, id) => kill(id)))

  it.effect("L6: 4031, the server ends an idle session", () =>
    inDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient
      const other = yield* anotherClient()
      const exit = yield* Effect.exit(Transaction.run(Effect.gen(function*() {
        const id = yield* connectionId
        yield* sql`SET SESSION wait_timeout = 1`
        yield* outside(Effect.repeat(
          other`SELECT 1 FROM information_schema.processlist WHERE id = ${id}`,
          { until: (rows) => rows.length === 0 }
        ))
        yield* sql`SELECT 1`
      })))
      // The server's last words may come before the next statement, which is not sent then, or as the answer to it.
      const error = failure(exit) as MysqlError.MysqlError | MysqlError.TransactionAborted
      expect(error._tag === "TransactionAborted" ? error.cause : error).toMatchObject({
        _tag: "ConnectionLost",
        errno: 4031
      })
    })))
})
