/**
 * Options that an application may have set on its pool, and that a server may give its sessions; and everything that this package does, as
 * one scenario whose outcome is the same under all of it.
 */
import { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import type { SqlClient } from "@effect/sql/SqlClient"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as CommitOracle from "@safesync/mysql/CommitOracle"
import * as FencingToken from "@safesync/mysql/FencingToken"
import * as IdempotentInsert from "@safesync/mysql/IdempotentInsert"
import * as Inbox from "@safesync/mysql/Inbox"
import * as LockDiagnosis from "@safesync/mysql/LockDiagnosis"
import * as Occ from "@safesync/mysql/Occ"
import * as Outbox from "@safesync/mysql/Outbox"
import * as RowLock from "@safesync/mysql/RowLock"
import * as Transaction from "@safesync/mysql/Transaction"
import type * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as String from "effect/String"
import type * as Mysql from "mysql2/promise"
import { failure, holding, tag } from "./support.js"

type Cast = (
  field: { readonly type: string; readonly string: () => string | null; readonly buffer: () => Buffer | null },
  next: () => unknown
) => unknown

const cast = (typeCast: Cast): MysqlServer.DatabaseOptions => ({ poolConfig: { typeCast: typeCast as never } })

export const poolOptions: Record<string, MysqlServer.DatabaseOptions> = {
  "none": {},
  "names between camel and snake case": {
    transformQueryNames: String.camelToSnake,
    transformResultNames: String.snakeToCamel
  },
  "names in capitals": { transformQueryNames: (_) => _.toLowerCase(), transformResultNames: (_) => _.toUpperCase() },
  "texts and bytes as strings": cast((field, next) =>
    field.type === "VAR_STRING" || field.type === "STRING" ? field.string() : next()
  ),
  "everything as a string": cast((field) => field.string()),
  "BLOBs as hex": cast((field, next) => /BLOB|STRING/.test(field.type) ? field.buffer()?.toString("hex") : next()),
  "nothing at all": cast((_, next) => (next(), undefined)),
  "numbers as booleans and BigInts": cast((field, next) => {
    const value = next()
    return field.type === "TINY" ? value === 1 : field.type === "LONGLONG" ? BigInt(`${value ?? 0}`) : value
  }),
  "no cast": { poolConfig: { typeCast: false } },
  "big numbers as strings": { poolConfig: { supportBigNumbers: true, bigNumberStrings: true } },
  "decimals as numbers": { poolConfig: { decimalNumbers: true } },
  "dates as strings": { poolConfig: { dateStrings: true } },
  "some dates as strings": { poolConfig: { dateStrings: ["DATE", "TIMESTAMP"] } },
  "UTC": { poolConfig: { timezone: "Z" } },
  "India's time": { poolConfig: { timezone: "+05:30" } },
  "latin1": { poolConfig: { charset: "LATIN1_SWEDISH_CI" } },
  "three-byte UTF-8": { poolConfig: { charset: "UTF8_GENERAL_CI" } },
  "sjis": { poolConfig: { charset: "SJIS_JAPANESE_CI" } },
  "gbk": { poolConfig: { charset: "GBK_CHINESE_CI" } },
  "utf8mb4_bin": { poolConfig: { charset: "UTF8MB4_BIN" } },
  "rows as arrays": { poolConfig: { rowsAsArray: true } },
  "rows by table": { poolConfig: { nestTables: true } },
  "rows with the table in their names": { poolConfig: { nestTables: "_" } },
  "named placeholders": { poolConfig: { namedPlaceholders: true } },
  "JSON as strings": { poolConfig: { jsonStrings: true } as never },
  "objects as strings": { poolConfig: { stringifyObjects: true } },
  "a query format of its own": {
    poolConfig: {
      queryFormat: ((sql: string, values: Record<string, unknown> | undefined) =>
        sql.replace(
          /:(\w+)/g,
          (all, name: string) => values?.[name] === undefined ? `${all}?` : `${values[name]}`
        )) as never
    }
  },
  "no generated code": { poolConfig: { disableEval: true } as never },
  "rows that were changed in place of found": { poolConfig: { flags: ["-FOUND_ROWS"] } },
  "sessions that are not tracked": { poolConfig: { flags: ["-SESSION_TRACK"] } },
  "no statement kept prepared": { poolConfig: { maxPreparedStatements: 1 } },
  "sessions reset on release": { poolConfig: { resetOnRelease: true } as never },
  "one connection": { maxConnections: 1 }
}

/** Each is set in every session of the application. */
export const sessionSettings: ReadonlyArray<string> = [
  "autocommit = 0",
  "sql_select_limit = 1",
  "sql_mode = ''",
  "sql_mode = 'ANSI'",
  "sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'",
  "sql_mode = 'PIPES_AS_CONCAT,IGNORE_SPACE'",
  "sql_mode = 'HIGH_NOT_PRECEDENCE'",
  "sql_mode = 'TRADITIONAL,NO_UNSIGNED_SUBTRACTION'",
  "sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,REAL_AS_FLOAT'",
  "sql_safe_updates = 1",
  "NAMES latin1",
  "character_set_connection = utf16",
  "character_set_results = latin1",
  "character_set_results = NULL",
  "collation_connection = utf8mb4_bin",
  "completion_type = 'CHAIN'",
  "completion_type = 'RELEASE'",
  "transaction_isolation = 'READ-UNCOMMITTED'",
  "transaction_isolation = 'SERIALIZABLE'",
  "autocommit = 0, transaction_isolation = 'SERIALIZABLE', completion_type = CHAIN",
  "sql_auto_is_null = 1",
  "max_execution_time = 5000",
  "time_zone = '+05:30'",
  "div_precision_increment = 0",
  "group_concat_max_len = 4",
  "explicit_defaults_for_timestamp = 0",
  "max_sort_length = 4",
  "default_storage_engine = MyISAM",
  "sql_require_primary_key = 1",
  "innodb_lock_wait_timeout = 1",
  "auto_increment_increment = 7, auto_increment_offset = 3",
  "unique_checks = 0, foreign_key_checks = 0",
  "max_error_count = 0, sql_notes = 0",
  "range_optimizer_max_mem_size = 1",
  "lc_messages = 'de_DE'",
  "session_track_gtids = OWN_GTID, session_track_transaction_info = 'CHARACTERISTICS', session_track_state_change = 1",
  "sql_buffer_result = 1, big_tables = 1"
]

const words = "Zoë pays 5 € 😀 'quoted' \"so\" \\ x"

const Paid = Schema.Struct({ name: Schema.String })

/** The tables of the application; `root` is as the server's own tools are, whatever is set for others. */
export const tables = (root: Mysql.Connection) =>
  Effect.promise(async () => {
    await root.query(
      `CREATE TABLE account (id INT PRIMARY KEY, owner VARCHAR(99) CHARACTER SET utf8mb4 NOT NULL DEFAULT '',
      balance INT NOT NULL DEFAULT 0, version BIGINT NOT NULL DEFAULT 0, UNIQUE KEY owner (owner, id)) ENGINE = InnoDB`
    )
    await root.query("INSERT INTO account (id) VALUES (1), (2), (3)")
    await root.query(`CREATE TABLE day_of_shop (day DATE, shop INT, PRIMARY KEY (day, shop)) ENGINE = InnoDB
      PARTITION BY RANGE COLUMNS (day) (PARTITION a VALUES LESS THAN ('2024-01-02'), PARTITION b VALUES LESS THAN (MAXVALUE))`)
    await root.query("INSERT INTO day_of_shop VALUES ('2024-01-01', 1), ('2024-01-02', 1), ('2024-01-03', 1)")
  })

const rowsOf = (root: Mysql.Connection, sql: string) =>
  Effect.promise(async () => {
    const [rows] = await root.query({ sql, rowsAsArray: true })
    return (rows as unknown as Array<Array<unknown>>).map((row) => row.join(" "))
  })

export const migrations = Effect.all(
  [Inbox.migration, Outbox.migration, CommitOracle.migration, FencingToken.migration],
  { discard: true }
)

/** Everything that the package does. */
export const scenario = (
  root: Mysql.Connection
): Effect.Effect<Record<string, unknown>, unknown, MysqlClient | SqlClient> =>
  Effect.scoped(Effect.gen(function*() {
    const told: Record<string, unknown> = {}
    const client = yield* MysqlClient
    yield* migrations
    yield* migrations

    // Inbox
    const once = (id: string) => Effect.map(Transaction.run(Inbox.once(id, "größe")(Effect.succeed(1))), Option.isSome)
    told["once"] = [yield* once("a"), yield* once("a"), yield* once("ä€😀"), yield* once("ä€😀")]
    const onceMany = (...ids: ReadonlyArray<string>) => Transaction.run(Inbox.onceMany(ids, "größe"))
    told["onceMany"] = [yield* onceMany("b", "ä€😀"), yield* onceMany("b", "c", "d", "ß"), yield* onceMany("b", "c")]
    yield* Effect.exit(Transaction.run(Effect.zipRight(Inbox.onceMany(["z"], "größe"), Effect.fail("no"))))
    told["inbox"] = yield* rowsOf(
      root,
      "SELECT CONVERT(message_id USING utf8mb4) FROM safesync_inbox ORDER BY message_id"
    )
    yield* Effect.promise(() =>
      root.query("UPDATE safesync_inbox SET processed_at = NOW() - INTERVAL 2 DAY WHERE message_id <> 'd'")
    )
    told["inbox purged"] = yield* Inbox.purge({ olderThan: "1 day", batchSize: 2 })
    told["inbox left"] = yield* rowsOf(root, "SELECT CONVERT(message_id USING utf8mb4) FROM safesync_inbox")

    // Outbox
    const committed = yield* Outbox.committed(client)
    const append = (messageId: string, key?: string) =>
      Outbox.append({
        stream: "größe",
        schema: Paid,
        value: { name: words },
        key,
        messageId,
        headers: { traceparent: words }
      })
    told["appended"] = [yield* Transaction.run(append("m-ä", "k€")), yield* Transaction.run(append("m-b", "k€"))]
    yield* Transaction.run(append("m-c"))
    yield* Transaction.run(Outbox.append({ stream: "other", schema: Paid, value: { name: "x" }, messageId: "m-d" }))
    yield* Effect.exit(Transaction.run(Effect.zipRight(append("m-e"), Effect.fail("no"))))
    yield* Queue.take(committed)
    const all = { fromSlot: 0, toSlot: Outbox.slots - 1, limit: 10 }
    const read = yield* Outbox.read(all)
    told["read"] = read.map(({ data, headers, key, messageId, stream }) => [
      messageId,
      stream,
      key,
      (JSON.parse(data) as { readonly name: string }).name === (stream === "other" ? "x" : words),
      headers["traceparent"] === (stream === "other" ? undefined : words)
    ]).sort()
    told["read but for one stream"] = (yield* Outbox.read({ ...all, except: ["größe"] })).map(({ messageId }) =>
      messageId
    )
    told["backlog"] = (yield* Outbox.backlog).messages
    yield* Outbox.report({ every: Schedule.stop })
    yield* Outbox.remove(read.filter(({ key }) => key !== undefined).map(({ id }) => id))
    yield* Outbox.remove(["18446744073709551615"])
    // Read anew by the one connection that a session without autocommit might have a snapshot on.
    told["read after removal"] = (yield* Outbox.read(all)).map(({ messageId }) => messageId).sort()
    told["outbox"] = yield* rowsOf(root, "SELECT CONVERT(message_id USING utf8mb4) FROM safesync_outbox ORDER BY 1")

    // Locks and tokens
    const issue = Effect.scoped(
      Effect.flatMap(AdvisoryLock.acquire("größe €", { timeout: 0 }), FencingToken.issue)
    )
    const tokens = [yield* issue, yield* issue]
    told["tokens"] = tokens.map(({ token }) => token)
    told["guards"] = yield* Effect.forEach(tokens, (token) =>
      Effect.map(Effect.exit(Transaction.run(FencingToken.guard(token))), tag))
    told["tokens kept"] = yield* rowsOf(root, "SELECT token FROM safesync_fencing_token")
    told["withLock"] = yield* Effect.succeed("done").pipe(AdvisoryLock.withLock("größe €", { timeout: 0 }))
    const taken = AdvisoryLock.withLock("größe €", { timeout: 0 })(
      Effect.exit(Transaction.run(AdvisoryLock.acquireInTransaction("größe €", { timeout: 100 })))
    )
    told["lock that is taken"] = tag(yield* taken)
    told["lock in a transaction"] = Exit.isSuccess(
      yield* Effect.exit(Transaction.run(AdvisoryLock.acquireInTransaction("größe €", { timeout: "1 second" })))
    )

    // Rows
    told["inserted"] = (yield* Effect.forEach([1, 2], () =>
      Transaction.run(IdempotentInsert.insert({
        table: "account",
        values: { id: 4, owner: words, version: 9007199254740993n },
        key: "PRIMARY"
      })))).map(({ _tag }) =>
        _tag
      )
    told["owner"] = (yield* rowsOf(root, "SELECT owner FROM account WHERE id = 4"))[0] === words
    const count = (rows: ReadonlyArray<unknown>) => rows.length
    told["locked"] = yield* Transaction.run(Effect.all([
      Effect.map(RowLock.forUpdate({ table: "account", where: { owner: words } }), Option.isSome),
      Effect.map(RowLock.forShare({ table: "account", where: { id: 9 } }), Option.isSome),
      Effect.map(RowLock.forUpdateMany({ table: "account", key: "id", values: [3, 2, 1, 9] }), count),
      Effect.map(
        RowLock.forUpdateMany({
          table: "account",
          key: ["owner", "id"],
          values: [{ owner: words, id: 4 }, { owner: "", id: 1 }, { owner: "", id: 4 }]
        }),
        count
      ),
      Effect.map(
        RowLock.forUpdateMany({
          table: "day_of_shop",
          key: ["day", "shop"],
          values: ["2024-01-01", "2024-01-02", "2024-01-03"].map((day) => ({ day, shop: 1 }))
        }),
        count
      )
    ]))
    told["row that is taken"] = yield* Effect.gen(function*() {
      const held = yield* holding(RowLock.forUpdate({ table: "account", where: { id: 1 } }))
      const others = yield* Effect.forEach(["nowait", "skip-locked", 50] as const, (wait) =>
        Effect.exit(Transaction.run(RowLock.forUpdate({ table: "account", where: { id: 1 }, wait }))))
      yield* held.release
      return others.map((exit) =>
        Exit.isSuccess(exit) ? Option.isSome(exit.value) : tag(exit)
      )
    }).pipe(Effect.when(() => client.config.maxConnections !== 1), Effect.map(Option.getOrElse(() => takenRow)))

    // Versions
    const versioned = (id: number, expected: Occ.Version) =>
      Occ.update({ table: "account", key: { id }, version: { column: "version", expected }, set: { owner: words } })
    told["versions"] = [
      yield* Transaction.run(versioned(1, 0)),
      yield* Transaction.run(versioned(1, "1")),
      yield* Transaction.run(versioned(4, "9007199254740993")),
      yield* Transaction.run(
        Occ.tryUpdate({
          table: "account",
          key: { id: 2 },
          version: { column: "version", expected: 0 },
          set: { balance: 0 }
        })
      )
    ]
    const conflict = failure(yield* Effect.exit(Transaction.run(versioned(1, 0)))) as Occ.VersionConflict
    told["conflict"] = [conflict._tag, conflict.expected, conflict.actual]
    told["missing"] = tag(yield* Effect.exit(Transaction.run(versioned(9, 0))))
    told["versions kept"] = yield* rowsOf(root, "SELECT version FROM account ORDER BY id")

    // Transactions: what is undone, and each level
    yield* Transaction.run(Effect.gen(function*() {
      yield* Inbox.onceMany(["s1"], "s")
      yield* Effect.ignore(Transaction.savepoint(Effect.zipRight(Inbox.onceMany(["s2"], "s"), Effect.fail("no"))))
    }))
    for (const isolation of ["read-uncommitted", "read-committed", "repeatable-read", "serializable"] as const) {
      yield* Transaction.run(Inbox.onceMany([isolation], "s"), { isolation, lockWaitTimeout: "2 seconds" })
    }
    yield* Effect.scoped(
      Effect.flatMap(
        Transaction.make(),
        (transaction) => Transaction.provide(transaction)(Inbox.onceMany(["made"], "s"))
      )
    )
    told["transactions"] = yield* rowsOf(
      root,
      "SELECT CONVERT(message_id USING utf8mb4) FROM safesync_inbox WHERE consumer_group = 's' ORDER BY 1"
    )
    told["read-only"] = tag(
      yield* Effect.exit(Transaction.run(Inbox.onceMany(["r"], "s"), { accessMode: "read-only" }))
    )

    // The sessions that wait, which are none here
    told["waits"] = (yield* LockDiagnosis.waits({ connectionId: 0 })).length
    told["last deadlock"] = Array.isArray(yield* LockDiagnosis.lastDeadlock())
    yield* Effect.promise(() => root.query("UPDATE safesync_commit SET written_at = NOW() - INTERVAL 2 DAY"))
    told["markers purged"] = yield* CommitOracle.purge({ olderThan: "1 day" })
    return told
  }))

const takenRow = ["LockNotAvailable", false, "LockWaitTimeout"]

export const outcome: Record<string, unknown> = {
  "once": [true, false, true, false],
  "onceMany": [["b"], ["c", "d", "ß"], []],
  "inbox": ["a", "b", "c", "d", "ß", "ä€😀"],
  "inbox purged": 5,
  "inbox left": ["d"],
  "appended": ["m-ä", "m-b"],
  "read": [
    ["m-b", "größe", "k€", true, true],
    ["m-c", "größe", undefined, true, true],
    ["m-d", "other", undefined, true, true],
    ["m-ä", "größe", "k€", true, true]
  ],
  "read but for one stream": ["m-d"],
  "backlog": 4,
  "read after removal": ["m-c", "m-d"],
  "outbox": ["m-c", "m-d"],
  "tokens": [1, 2],
  "guards": ["FencingTokenStale", undefined],
  "tokens kept": ["2"],
  "withLock": "done",
  "lock that is taken": "AdvisoryLockTimeout",
  "lock in a transaction": true,
  "inserted": ["Inserted", "AlreadyExists"],
  "owner": true,
  "locked": [true, false, 3, 2, 3],
  "row that is taken": takenRow,
  "versions": [1, "2", "9007199254740994", 1],
  "conflict": ["VersionConflict", 0, 2],
  "missing": "RowMissing",
  "versions kept": ["2", "1", "0", "9007199254740994"],
  "transactions": ["made", "read-committed", "read-uncommitted", "repeatable-read", "s1", "serializable"],
  "read-only": "ReadOnlyServer",
  "waits": 0,
  "last deadlock": true,
  "markers purged": 0
}
