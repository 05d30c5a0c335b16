/**
 * What MySQL has waited for, by its own account. Contenders run one at a time, so it is theirs.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Pool } from "mysql2/promise"
import type { Waits } from "./Benchmark.js"
import * as Driver from "./Driver.js"

/**
 * Milliseconds since the server began, of all connections together; null if it does not tell.
 *
 * @since 0.1.0
 * @category accessors
 */
export const sofar = (pool: Pool): Effect.Effect<Waits | null> =>
  Driver.promise(async () => {
    // https://dev.mysql.com/doc/refman/8.4/en/performance-schema-file-summary-tables.html; picoseconds
    const [[row]] = (await pool.query(`
      SELECT
        (SELECT CAST(VARIABLE_VALUE AS SIGNED) FROM performance_schema.global_status
          WHERE VARIABLE_NAME = 'Innodb_row_lock_time') AS rowLocks,
        (SELECT SUM(SUM_TIMER_MISC) / 1000000000 FROM performance_schema.file_summary_by_event_name
          WHERE EVENT_NAME IN ('wait/io/file/innodb/innodb_log_file', 'wait/io/file/sql/binlog')) AS fsync
    `)) as unknown as [[{ readonly rowLocks: number | null; readonly fsync: string | null }]]
    return row.rowLocks === null || row.fsync === null
      ? null
      : { rowLocks: Number(row.rowLocks), fsync: Number(row.fsync) }
  }).pipe(Effect.orElseSucceed(() => null))

/**
 * @since 0.1.0
 * @category accessors
 */
export const between = (before: Waits | null, after: Waits | null): Waits | null =>
  before === null || after === null ? null : {
    rowLocks: after.rowLocks - before.rowLocks,
    fsync: after.fsync - before.fsync
  }

/**
 * So many at a time, on average over these seconds.
 *
 * @since 0.1.0
 * @category accessors
 */
export const during = (slices: ReadonlyArray<Waits | null>, seconds: number): Waits | null => {
  const all = { rowLocks: 0, fsync: 0 }
  for (const slice of slices) {
    if (slice === null) return null
    all.rowLocks += slice.rowLocks / seconds / 1_000
    all.fsync += slice.fsync / seconds / 1_000
  }
  return all
}
