/** The table from errno and the driver's codes to tags, without a server. */
import { SqlError } from "@effect/sql/SqlError"
import { describe, expect, it } from "@effect/vitest"
import * as MysqlError from "@safesync/mysql/MysqlError"
import * as Cause from "effect/Cause"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"

describe("MysqlError, without a server", () => {
  const tags: Record<string, ReadonlyArray<number | readonly [number, string]>> = {
    Deadlock: [1213, 1614, 3101, [1180, "Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT"]],
    LockWaitTimeout: [1205],
    LockNotAvailable: [3572],
    StatementTimeout: [3024, 1969],
    StatementInterrupted: [1317],
    DuplicateKey: [1062, 1586],
    ForeignKeyViolation: [1216, 1217, 1451, 1452, 1761, 1762],
    CheckViolation: [3819],
    PacketTooLarge: [1153],
    ReadOnlyServer: [
      ...[1036, 1792, 1836, 1874, 3989],
      [1290, "The MySQL server is running with the --read-only option so it cannot execute this statement"],
      [1290, "The MySQL server is running with the --super-read-only option so it cannot execute this statement"],
      [1015, "Can't lock file (errno: 165 - Table is read only)"]
    ],
    ConnectionLost: [
      ...[1040, 1042, 1043, 1053, 1129, 1130, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1862, 1927, 2006, 2013, 2055],
      ...[3032, 3118, 3159, 3168, 3169, 4031, 4081, 4082]
    ],
    StatementFailed: [
      ...[1045, 1054, 1064, 1146, 1206, 1223, 1264, 1366, 1406, 1412, 1461, 1637, 1644, 3058, 3100, 9999],
      [1180, "Got error 5 - 'Input/output error' during COMMIT"],
      [1290, "The MySQL server is running with the --secure-file-priv option so it cannot execute this statement"],
      [1015, "Can't lock file (errno: 11 - Resource temporarily unavailable)"]
    ]
  }
  for (const [tag, errnos] of Object.entries(tags)) {
    it(`L6: ${tag}`, () => {
      for (const [errno, message] of errnos.map((_) => typeof _ === "number" ? [_, "text"] as const : _)) {
        const driver = Object.assign(new Error(message), {
          errno,
          code: "ER_X",
          sqlState: "HY000",
          sqlMessage: message
        })
        expect(MysqlError.fromDriver(driver, "SELECT ?")).toMatchObject({
          _tag: tag,
          errno,
          code: "ER_X",
          sqlState: "HY000",
          statement: "SELECT ?"
        })
        expect(MysqlError.classify(new SqlError({ cause: driver }))).toMatchObject({ _tag: tag, errno })
      }
    })
  }

  it("L6: 4025 is a CHECK by its state alone", () => {
    expect(MysqlError.fromDriver({ errno: 4025, sqlState: "23000" })._tag).toBe("CheckViolation")
    expect(MysqlError.fromDriver({ errno: 4025, sqlState: "HY000" })._tag).toBe("StatementFailed")
  })

  const lost: ReadonlyArray<object> = [
    ...[
      "PROTOCOL_CONNECTION_LOST",
      "PROTOCOL_ENQUEUE_AFTER_FATAL_ERROR",
      "PROTOCOL_SEQUENCE_TIMEOUT",
      "PROTOCOL_ERROR"
    ],
    ...["HANDSHAKE_NO_SSL_SUPPORT", "HANDSHAKE_SSL_ERROR", "HANDSHAKE_UNKNOWN_ERROR", "AUTH_SWITCH_PLUGIN_ERROR"],
    ...["ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "EPIPE", "ETIMEDOUT", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH"],
    "ENETUNREACH"
  ].map((code) => ({ code }))
  it("L6: ConnectionLost, by what the driver says", () => {
    for (const fields of [...lost, { fatal: true }, { errno: -104, code: "ECONNRESET" }, { code: 4031, fatal: true }]) {
      expect(MysqlError.fromDriver(Object.assign(new Error("text"), fields))).toMatchObject({ _tag: "ConnectionLost" })
    }
    for (
      const message of [
        "Can't add new command when connection is in closed state",
        "Pool is closed.",
        "No connections available.",
        "Queue limit reached.",
        "connection timeout"
      ]
    ) {
      expect(MysqlError.fromDriver(new Error(message))).toMatchObject({ _tag: "ConnectionLost", detail: message })
    }
    const ofSystem = MysqlError.fromDriver({ errno: -104, code: "ECONNRESET", message: "read ECONNRESET" })
    expect(ofSystem).toMatchObject({ code: "ECONNRESET", errno: undefined })
    expect(MysqlError.fromDriver({ code: 4031, fatal: true })).toMatchObject({ code: "4031", errno: 4031 })
    // What somebody else's code says is not the driver's word.
    expect(MysqlError.fromDriver({ code: "E_OTHER", message: "Pool is closed." })._tag).toBe("StatementFailed")
    expect(MysqlError.fromDriver("what is this")).toMatchObject({ _tag: "StatementFailed", code: "UNKNOWN" })
  })

  it("an error that is classified already stays as it is", () => {
    const error = MysqlError.fromDriver(Object.assign(new Error(), { errno: 1213 }))
    expect(MysqlError.fromDriver(error)).toBe(error)
    expect(MysqlError.classify(new SqlError({ cause: error, message: "Failed to acquire connection" }))).toBe(error)
    expect(MysqlError.refailError("mine")).toBe("mine")
  })

  const deadlock = Object.assign(new Error("Deadlock found"), { errno: 1213, code: "ER_LOCK_DEADLOCK" })
  class DrizzleQueryError extends Error {
    constructor(readonly query: string, override readonly cause: unknown) {
      super(`Failed query: ${query}\nparams: connection timeout`)
    }
  }
  const cycle = new DrizzleQueryError("select 1", undefined)
  Object.assign(cycle, { cause: new AggregateError([cycle, deadlock]) })
  const wrapped: Record<string, (error: unknown) => unknown> = {
    "in a query builder's error": (error) => new DrizzleQueryError("update t", error),
    "in an SqlError around that": (error) => new SqlError({ cause: new DrizzleQueryError("update t", error) }),
    "in an SqlError around an SqlError": (error) => new SqlError({ cause: new SqlError({ cause: error }) }),
    "ten deep": (error) => Array.from({ length: 10 }).reduce((cause) => new Error("more", { cause }), error),
    "among several": (error) => new AggregateError([new Error("another"), new Error("one", { cause: error })]),
    "as what a promise is rejected with": (error) => Runtime.makeFiberFailure(Cause.fail(error)),
    "in an Effect's Cause": (error) => new Error("it failed", { cause: Cause.die(error) })
  }
  for (const [how, wrap] of Object.entries(wrapped)) {
    it(`L6: through causes: ${how}`, () => {
      for (const error of [deadlock, MysqlError.fromDriver(deadlock)]) {
        const tree = wrap(error)
        expect(MysqlError.fromDriver(tree)).toMatchObject({ _tag: "Deadlock", errno: 1213 })
        expect(MysqlError.refailError(new SqlError({ cause: tree }))).toMatchObject({ _tag: "Deadlock", errno: 1213 })
        expect(MysqlError.origin(tree)).toMatchObject(Option.some({ _tag: "Deadlock" }))
      }
      const full = new SqlError({ cause: { errno: 1045 }, message: "Failed to acquire connection" })
      expect(MysqlError.fromDriver(wrap(full))).toMatchObject({ _tag: "ConnectionLost", errno: 1045 })
      const aborted = new MysqlError.TransactionAborted({ reason: "deadlock", connectionId: 1, cause: deadlock })
      expect(MysqlError.refailError(new SqlError({ cause: wrap(aborted) }))).toBe(aborted)
    })
  }

  it("L6: causes may have no end, and what a wrapper quotes is not the driver's word", () => {
    expect(MysqlError.fromDriver(cycle)).toMatchObject({ _tag: "Deadlock" })
    Object.assign(cycle, { cause: cycle })
    expect(Option.isNone(MysqlError.origin(cycle))).toBe(true)
    expect(Option.isNone(MysqlError.origin(new Error("connection timeout")))).toBe(true)
    expect(MysqlError.fromDriver(new DrizzleQueryError("select 1", { errno: 1146 }))._tag).toBe("StatementFailed")
  })

  it("what may be tried again", () => {
    const retryable = Object.keys(tags).filter((tag) => {
      const [first] = tags[tag]!
      return MysqlError.isRetryable(MysqlError.fromDriver({ errno: first }))
    })
    expect(retryable).toEqual(["Deadlock", "LockWaitTimeout", "LockNotAvailable"])
    expect(MysqlError.isRetryable({ _tag: "Deadlock" })).toBe(false)
  })

  it("a message names the problem, the number, what the server said, a hint and the statement", () => {
    const driver = Object.assign(new Error("Lock wait timeout exceeded"), { errno: 1205, code: "ER_LOCK_WAIT_TIMEOUT" })
    expect(MysqlError.fromDriver(driver, "UPDATE t").message).toBe(
      "A lock was not granted in time (1205 ER_LOCK_WAIT_TIMEOUT). Lock wait timeout exceeded. " +
        "Hint: another transaction holds it: keep transactions short. Statement: UPDATE t"
    )
    expect(MysqlError.fromDriver(Object.assign(new Error(), { code: "EPIPE" })).message).toBe(
      "There is no connection to the server (EPIPE)"
    )
  })

  it("a table of this package's own that is missing: the hint names what creates it", () => {
    const missing = (table: string) =>
      MysqlError.fromDriver(Object.assign(new Error(`Table 'shop.${table}' doesn't exist`), { errno: 1146 })).message
    expect(missing("safesync_inbox")).toContain("Hint: Inbox.migration creates it")
    expect(missing("safesync_outbox_slot")).toContain("Hint: Outbox.migration creates it")
    expect(missing("safesync_commit")).toContain("Hint: CommitOracle.migration creates it")
    expect(missing("safesync_fencing_token")).toContain("Hint: FencingToken.migration creates it")
    expect(missing("account")).not.toContain("Hint")
  })

  it("names of indexes and constraints are read from the right, whatever the values are", () => {
    const key = (message: string) => MysqlError.fromDriver({ errno: 1062, message })
    expect(key("Duplicate entry 'a' for key 'b.c' for key 't.the key'")).toMatchObject({ key: "the key" })
    expect(key("Duplicate entry 'a\nb' for key 't.PRIMARY'")).toMatchObject({ key: "PRIMARY" })
    expect(key("Duplicate entry 'a' for key 'PRIMARY'")).toMatchObject({ key: "PRIMARY" })
    expect(key("Doppelt")).toMatchObject({ key: "" })
    // with other lc_messages
    expect(key("Doppelter Eintrag 'a' für Schlüssel 't.the key'")).toMatchObject({ key: "the key" })
    expect(key("Duplicata du champ 'l'a' pour la clef 't.PRIMARY'")).toMatchObject({ key: "PRIMARY" })
    expect(key("'a' は索引 't.PRIMARY' で重複しています。")).toMatchObject({ key: "PRIMARY" })
    const constraint = (errno: number, message: string) => MysqlError.fromDriver({ errno, message })
    expect(constraint(1452, "fails (`d`.`t`, CONSTRAINT `a``b` FOREIGN KEY (`c`)")).toMatchObject({ constraint: "a`b" })
    expect(constraint(3819, "Check constraint 'it's' is violated.")).toMatchObject({ constraint: "it's" })
  })
})
