/**
 * The one table from errno to tags. What says that there is no connection has its list in `driverError.ts`, errnos and the driver's own
 * codes alike, since others ask for that alone.
 *
 * Sources: https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html, and `mysql2` for what it raises itself.
 * Left as `StatementFailed`, since there is nothing to do about them at run time, or nothing that all callers would:
 * 1206 and 1637 (the server is out of locks or of transactions), 1223 (a read lock of one's own), 1412 (a table was altered
 * since the snapshot was taken: it comes with a migration, and only a new transaction sees the table), 1461 (prepared
 * statements), 3058 (a deadlock of advisory locks: `AdvisoryLock` has a tag for it), 3100 (a replication plugin's hook).
 *
 * @internal
 */
import type { MysqlError } from "../MysqlError.js"
import * as driver from "./driverError.js"

export type Tag = MysqlError["_tag"]

/** `error` is what the driver raised, the rest what `driverError.read` has made of it. */
export const tagOf = (error: unknown, { errno, sqlState }: driver.DriverError): Tag => {
  const told = errno === undefined ? undefined : table[errno]
  const tag = typeof told === "function" ? told(error, sqlState) : told
  return tag ?? (driver.isConnectionLost(error) ? "ConnectionLost" : "StatementFailed")
}

// internal

const table: Readonly<Record<number, Tag | ((error: unknown, sqlState: string | undefined) => Tag)>> = {
  1213: "Deadlock",
  1614: "Deadlock",
  3101: "Deadlock",
  1180: (error) => driver.engineErrno(error) === 149 ? "Deadlock" : "StatementFailed",
  1205: "LockWaitTimeout",
  3572: "LockNotAvailable",
  3024: "StatementTimeout",
  1969: "StatementTimeout", // MariaDB
  1317: "StatementInterrupted",
  1062: "DuplicateKey",
  1586: "DuplicateKey",
  1216: "ForeignKeyViolation",
  1217: "ForeignKeyViolation",
  1451: "ForeignKeyViolation",
  1452: "ForeignKeyViolation",
  1761: "ForeignKeyViolation",
  1762: "ForeignKeyViolation",
  3819: "CheckViolation",
  1153: "PacketTooLarge",
  // a CHECK of MariaDB; MySQL says it of a tablespace, with another state
  4025: (_, sqlState) => sqlState === "23000" ? "CheckViolation" : "StatementFailed",
  1036: "ReadOnlyServer",
  1792: "ReadOnlyServer",
  1836: "ReadOnlyServer",
  1874: "ReadOnlyServer",
  3989: "ReadOnlyServer",
  1290: (error) => driver.namesReadOnly(error) ? "ReadOnlyServer" : "StatementFailed",
  1015: (error) => driver.engineErrno(error) === 165 ? "ReadOnlyServer" : "StatementFailed"
}
