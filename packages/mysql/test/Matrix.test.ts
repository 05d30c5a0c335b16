// This package's own statements write and read what they mean, whatever an application has set on its pool and its sessions.
import * as Mysql2 from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Inbox from "@safesync/mysql/Inbox"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as TcpProxy from "@safesync/testkit/TcpProxy"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Mysql from "mysql2/promise"
import { outcome, poolOptions, scenario, sessionSettings, tables } from "./matrix.js"
import { anotherClient, inDatabase, tag } from "./support.js"

/** A connection whose session is as the server's own tools have it, whatever is the default. */
const rooted = Effect.flatMap(
  MysqlServer.MysqlServer,
  ({ url }) =>
    Effect.flatMap(Mysql2.MysqlClient, ({ config }) =>
      Effect.acquireRelease(
        Effect.promise(async () => {
          const root = await Mysql.createConnection({
            uri: Redacted.value(url),
            database: config.database!,
            supportBigNumbers: true,
            bigNumberStrings: true
          })
          await root.query(
            "SET NAMES utf8mb4, autocommit = 1, sql_mode = 'STRICT_TRANS_TABLES', time_zone = '+00:00', " +
              "completion_type = NO_CHAIN"
          )
          return root
        }),
        (root) => Effect.promise(() => root.end())
      ))
)

/** A user without the right to leave `init_connect` out, whose sessions are set so. */
const user = (root: Mysql.Connection, settings: string | undefined) =>
  Effect.promise(async () => {
    await root.query("CREATE USER IF NOT EXISTS application@'%'")
    await root.query("GRANT ALL ON *.* TO application@'%'")
    await root.query("REVOKE SUPER, CONNECTION_ADMIN ON *.* FROM application@'%'")
    await root.query("SET GLOBAL init_connect = ?", [settings === undefined ? "" : `SET ${settings}`])
  })

const under = (options: MysqlServer.DatabaseOptions, settings?: string) =>
  inDatabase(Effect.gen(function*() {
    const root = yield* rooted
    yield* user(root, settings)
    yield* Effect.addFinalizer(() => Effect.promise(() => root.query("SET GLOBAL init_connect = ''")))
    yield* tables(root)
    const client = yield* anotherClient({ ...options, username: "application" })
    const told = yield* Effect.provideService(
      Effect.provideService(scenario(root), Mysql2.MysqlClient, client),
      SqlClient,
      client
    )
    expect(told).toEqual(outcome)
    yield* oracle({ ...options, username: "application" })
  }))

/** COMMIT's answer is lost, and so is COMMIT itself. */
const oracle = (options: Partial<Mysql2.MysqlClientConfig>) =>
  Effect.gen(function*() {
    const { url } = yield* MysqlServer.MysqlServer
    const proxy = yield* TcpProxy.make(url)
    const client = yield* anotherClient({ ...options, host: "127.0.0.1", port: proxy.port, maxConnections: 1 })
    const asked = (body: Effect.Effect<unknown, unknown, SqlClient | Transaction.Transaction>) =>
      Effect.exit(Transaction.run(body, { commitOracle: Schedule.spaced("10 millis") })).pipe(
        Effect.provideService(Mysql2.MysqlClient, client),
        Effect.provideService(SqlClient, client)
      )
    const written = Effect.flatMap(SqlClient, (sql) => sql`UPDATE account SET balance = balance + 1 WHERE id = 1`)
    for (const [body, by] of [[written, "its row"], [Inbox.onceMany(["o"], "o"), "the inbox"]] as const) {
      yield* proxy.loseRequest("COMMIT AND")
      expect([by, tag(yield* asked(body))]).toEqual([by, "CommitFailed"])
      yield* proxy.loseReplies("COMMIT AND")
      expect([by, tag(yield* asked(body))]).toEqual([by, undefined])
    }
  })

layer(MysqlServer.layerOwn(), { excludeTestServices: true, timeout: "3 minutes" })(
  "Everything means the same",
  (it) => {
    for (const [name, options] of Object.entries(poolOptions)) {
      it.effect(`with ${name} on the pool`, () => under(options))
    }

    for (const settings of sessionSettings) {
      it.effect(`in sessions with ${settings}`, () => under({}, settings))
    }

    it.effect("with a URL that says how to read", () =>
      inDatabase(Effect.gen(function*() {
        const root = yield* rooted
        yield* tables(root)
        const { url } = yield* MysqlServer.MysqlServer
        const { config } = yield* Mysql2.MysqlClient
        const client = yield* anotherClient({
          url: Redacted.make(
            `${
              Redacted.value(url)
            }/${config.database}?rowsAsArray=true&typeCast=false&charset=LATIN1_SWEDISH_CI&dateStrings=true`
          )
        })
        const told = yield* Effect.provideService(
          Effect.provideService(scenario(root), Mysql2.MysqlClient, client),
          SqlClient,
          client
        )
        expect(told).toEqual(outcome)
      })))
  }
)

layer(
  MysqlServer.layerOwn({
    args: [
      "--lower-case-table-names=1",
      "--innodb-rollback-on-timeout=ON",
      "--innodb-page-size=4k",
      "--character-set-server=latin1",
      "--collation-server=latin1_swedish_ci",
      "--default-time-zone=+05:30",
      "--default-storage-engine=MyISAM",
      "--sql-mode=ANSI,NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE",
      "--sql-require-primary-key=ON",
      "--explicit-defaults-for-timestamp=OFF",
      "--completion-type=CHAIN",
      "--autocommit=0",
      "--log-bin",
      "--server-id=1",
      "--binlog-format=MIXED"
    ]
  }),
  { excludeTestServices: true, timeout: "3 minutes" }
)("Everything means the same on a server with unusual defaults", (it) => {
  it.effect("with nothing on the pool", () => under({}))
  it.effect("with names, casts and rows on the pool", () =>
    under({ ...poolOptions["names between camel and snake case"], ...poolOptions["everything as a string"] }))
})
