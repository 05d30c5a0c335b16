import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { assert, it, layer } from "@effect/vitest"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { once } from "node:events"
import * as Net from "node:net"

import * as MysqlConnection from "../src/internal/mysqlConnection.js"

const database = (options?: MysqlServer.DatabaseOptions) =>
  Effect.map(Layer.build(MysqlServer.database(options)), Context.get(MysqlClient.MysqlClient))

const assertClean = (sql: MysqlClient.MysqlClient, options?: Parameters<typeof MysqlServer.assertClean>[0]) =>
  Effect.provideService(MysqlServer.assertClean(options), MysqlClient.MysqlClient, sql)

/** A connection of the test's own, on the database of a client. */
const connectTo = (sql: MysqlClient.MysqlClient) =>
  Effect.gen(function*() {
    const { url } = yield* MysqlServer.MysqlServer
    const connection = yield* MysqlConnection.connect(url)
    yield* MysqlConnection.query(connection, `USE ${sql.config.database}`)
    return connection
  })

layer(Layer.mergeAll(MysqlServer.layer, RedisServer.layer), { excludeTestServices: true, timeout: "3 minutes" })(
  "MysqlServer",
  (it) => {
    it.scoped("database: each is a fresh and empty one of its own", () =>
      Effect.gen(function*() {
        const [one, two] = yield* Effect.all([database(), database()])
        assert.notStrictEqual(one.config.database, two.config.database)
        yield* one`CREATE TABLE t (id INT)`
        assert.deepStrictEqual(yield* two`SHOW TABLES`, [])
        yield* Effect.all([assertClean(one), assertClean(two)])
      }))

    it.scoped("database: it is dropped at the end, though a connection still uses it", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const sql = yield* Scope.extend(database({ maxConnections: 2 }), scope)
        const left = yield* connectTo(sql)
        yield* sql`CREATE TABLE t (id INT)`
        yield* MysqlConnection.query(left, "START TRANSACTION")
        yield* MysqlConnection.query(left, "SELECT * FROM t")
        yield* Scope.close(scope, Exit.void)
        const other = yield* database()
        const name = sql.config.database!
        assert.deepStrictEqual(yield* other`SELECT 1 FROM information_schema.schemata WHERE schema_name = ${name}`, [])
      }))

    it.scoped("assertClean finds an open transaction, of this database only", () =>
      Effect.gen(function*() {
        const [sql, other] = yield* Effect.all([database(), database()])
        const left = yield* connectTo(sql)
        yield* assertClean(sql)
        yield* MysqlConnection.query(left, "START TRANSACTION")
        const leak = yield* Effect.flip(assertClean(sql, { within: "100 millis" }))
        assert.strictEqual(
          leak.message,
          `database ${sql.config.database}: connection ${left.threadId} has a transaction open`
        )
        yield* assertClean(other, { within: 0 })
        const byId = { within: 0, connectionIds: [left.threadId!] }
        assert.strictEqual((yield* Effect.flip(assertClean(other, byId))).leaks.length, 1)
        yield* MysqlConnection.query(left, "COMMIT")
        yield* assertClean(sql)
      }))

    it.scoped("assertClean finds a user-level lock, of this database only", () =>
      Effect.gen(function*() {
        const [sql, other] = yield* Effect.all([database(), database()])
        const left = yield* connectTo(sql)
        const name = `lock_${sql.config.database}`
        yield* MysqlConnection.query(left, "SELECT GET_LOCK(?, 1)", [name])
        const leak = yield* Effect.flip(assertClean(sql, { within: "100 millis" }))
        assert.deepStrictEqual(leak.leaks, [`connection ${left.threadId} holds or waits for the lock ${name}`])
        yield* assertClean(other, { within: 0 })
        yield* MysqlConnection.query(left, "SELECT RELEASE_LOCK(?)", [name])
        yield* assertClean(sql)
      }))

    it.scoped("assertClean waits for a connection that is just going", () =>
      Effect.gen(function*() {
        const sql = yield* database()
        const left = yield* connectTo(sql)
        yield* MysqlConnection.query(left, "START TRANSACTION")
        const asserted = yield* Effect.fork(assertClean(sql, { within: "30 seconds" }))
        yield* Effect.yieldNow()
        left.destroy()
        yield* Effect.timeout(Fiber.join(asserted), "10 seconds")
      }))

    it.scoped("database: a login that may not create one is told so, and how it may", () =>
      Effect.gen(function*() {
        const { url } = yield* MysqlServer.MysqlServer
        const sql = yield* database()
        const name = `u_${sql.config.database!.slice(-12)}`
        yield* Effect.acquireRelease(
          sql.unsafe(`CREATE USER ${name} IDENTIFIED BY 's3cret'`),
          () => Effect.orDie(sql.unsafe(`DROP USER ${name}`))
        )
        const theirs = new URL(Redacted.value(url))
        theirs.username = name
        theirs.password = "s3cret"
        const error = yield* Effect.flip(
          database().pipe(
            Effect.provideServiceEffect(MysqlServer.MysqlServer, given(theirs.href))
          )
        )
        assert.strictEqual(
          error.message,
          "A fresh database could not be created: this login may not create databases. " +
            "Grant it all on `safesync\\_%`.*, or use another one."
        )
      }))

    it.effect("a URL with a wrong password: one line that does not hold it", () =>
      Effect.gen(function*() {
        const { url } = yield* MysqlServer.MysqlServer
        const wrong = new URL(Redacted.value(url))
        wrong.username = "nobody"
        wrong.password = "s3cret"
        const error = yield* failureFor(wrong.href)
        assert.strictEqual(
          error.message,
          `MySQL is not available. SAFESYNC_MYSQL_URL: ${wrong.host} refused the login of user nobody. ` +
            "Correct user and password in the URL."
        )
        assert.notInclude(JSON.stringify(error), "s3cret")
      }))

    it.effect("a URL of something that is not MySQL", () =>
      Effect.gen(function*() {
        const { host } = new URL(Redacted.value((yield* RedisServer.RedisServer).url))
        const error = yield* failureFor(`mysql://root:s3cret@${host}`)
        assert.include(error.message, `${host} does not answer as a MySQL server would`)
        assert.notInclude(error.message, "s3cret")
      }))

    it.effect("a URL that names a database is the URL of its server", () =>
      Effect.gen(function*() {
        const { url } = yield* MysqlServer.MysqlServer
        const server = yield* Effect.scoped(given(`${Redacted.value(url)}/some_database`))
        assert.strictEqual(new URL(Redacted.value(server.url)).pathname.replace("/", ""), "")
        assert.strictEqual(server.origin, "url")
        assert.strictEqual(server.control._tag, "None")
      }))
  }
)

const given = (url: string) =>
  Effect.map(Layer.build(MysqlServer.layer), Context.get(MysqlServer.MysqlServer)).pipe(
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map([[MysqlServer.urlVariable, url]])))
  )

const failureFor = (url: string) => Effect.flip(Effect.scoped(given(url)))

it.live.each([
  ["what is it", "this is not a URL. It looks like mysql://user:password@127.0.0.1:3306."],
  ["http://u:s3cret@127.0.0.1", "this is not a URL that begins with mysql:// and a host. It looks like mysql://"],
  [
    "mysql://100%:s3cret@127.0.0.1",
    "a % in user, password or path is not followed by two hexadecimal digits. Write %25"
  ],
  ["mysql://u:s3cret@[::1]:1", "nothing listens at [::1]:1. Start the server, or correct host and port."],
  ["mysql://u:s3cret@127.0.0.1:1", "nothing listens at 127.0.0.1:1. Start the server, or correct host and port."],
  ["mysql://u:s3cret@no-such-host.invalid", "the host of no-such-host.invalid:3306 is not known. Correct the host."]
])("a wrong URL fails with one line and nothing else is tried: %s", ([url = "", reason]) =>
  Effect.gen(function*() {
    const error = yield* failureFor(url)
    assert.strictEqual(error.attempts.length, 1)
    assert.include(error.message, `MySQL is not available. SAFESYNC_MYSQL_URL: ${reason}`)
    assert.notInclude(error.message, "s3cret")
    assert.notInclude(error.message, "\n")
  }))

/** Lets everybody in and answers every query as a server of this version would answer SELECT VERSION(). */
const serverOf = (version: string) => {
  const packet = (sequence: number, ...parts: ReadonlyArray<string | ReadonlyArray<number>>) => {
    const payload = Buffer.concat(parts.map((part) => typeof part === "string" ? Buffer.from(part) : Buffer.from(part)))
    return Buffer.concat([Buffer.from([payload.length & 0xff, payload.length >> 8, 0, sequence]), payload])
  }
  const zeros = (count: number) => Array<number>(count).fill(0)
  const text = (value: string) => [value.length, ...Buffer.from(value)]
  const column = (name: string) => [
    ...[text("def"), text(""), text(""), text(""), text(name), text(name)].flat(),
    ...[12, 33, 0, 100, 0, 0, 0, 253, 0, 0, 0, 0, 0]
  ]
  const end = [0xfe, 0, 0, 2, 0]
  const capabilities = [0x01, 0x82, 0x21, 2, 0, 0x08, 0, 21]
  const greeting = [[10], version, [0, 1, 0, 0, 0], "01234567", [0], capabilities, zeros(10), "890123456789", [0]]
  const answer = [[2], column("version"), column("datadir"), end, [...text(version), ...text("/")], end]
  return Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const server = Net.createServer((socket) => {
          socket.on("error", () => {}).write(packet(0, ...greeting, "mysql_native_password", [0]))
          socket.once("data", () => {
            socket.write(packet(2, [0, 0, 0, 2, 0, 0, 0]))
            socket.on("data", () => answer.forEach((part, i) => socket.write(packet(i + 1, part))))
          })
        })
        await once(server.listen(0, "127.0.0.1"), "listening")
        return server
      }),
      (server) => Effect.sync(() => server.close())
    ),
    (server) => `mysql://root@127.0.0.1:${(server.address() as Net.AddressInfo).port}`
  )
}

it.scopedLive.each([
  ["5.7.44-log", "MySQL 5.7.44-log is too old. MySQL 8.0 or later is needed."],
  ["5.5.5-10.11.6-MariaDB", "it is MariaDB (5.5.5-10.11.6-MariaDB), not MySQL. MySQL 8.0 or later is needed."]
])("a server that is not supported is told as such: %s", ([version = "", reason]) =>
  Effect.gen(function*() {
    const error = yield* failureFor(yield* serverOf(version))
    assert.strictEqual(error.message, `MySQL is not available. SAFESYNC_MYSQL_URL: ${reason}`)
  }))
