/**
 * What transactional contenders write to, and what must be found there in the end.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Pool } from "mysql2/promise"
import type { Job } from "../Benchmark.js"
import * as Driver from "../Driver.js"
import * as Message from "../Message.js"

/**
 * The accounts, and the table of message ids that one writes by hand.
 *
 * @since 0.1.0
 * @category steps
 */
export const create = (pool: Pool): Effect.Effect<void, unknown> =>
  Driver.promise(async () => {
    await pool.query("CREATE TABLE account (id INT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE = InnoDB")
    const rows = Array.from({ length: Message.accounts }, (_, at) => [at + 1, 0])
    await pool.query("INSERT INTO account (id, balance) VALUES ?", [rows])
    await pool.query("CREATE TABLE handled (message_id VARCHAR(128) PRIMARY KEY) ENGINE = InnoDB")
  })

/**
 * The two statements of a message.
 *
 * @since 0.1.0
 * @category statements
 */
export const update = "UPDATE account SET balance = balance + ? WHERE id = ?"

/**
 * @since 0.1.0
 * @category statements
 */
export const insert = "INSERT INTO handled (message_id) VALUES (?)"

/**
 * The credits of a batch in one statement, from a JSON array of [account, pence].
 *
 * @since 0.1.0
 * @category statements
 */
export const updateMany = `
  UPDATE account JOIN (
    SELECT id, SUM(pence) AS pence
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id INT PATH '$[0]', pence INT PATH '$[1]')) AS credit
    GROUP BY id
  ) AS credited USING (id)
  SET balance = balance + credited.pence`

/**
 * What is wrong: every message is one penny on one account, and one id.
 *
 * @since 0.1.0
 * @category steps
 */
export const applied = (
  pool: Pool,
  jobs: ReadonlyArray<Job>,
  ids: "handled" | "safesync_inbox"
): Effect.Effect<ReadonlyArray<string>, unknown> =>
  Driver.promise(async () => {
    const expected = new Map<number, number>()
    for (const { count } of jobs) {
      for (let number = 0; number < count; number++) {
        const { account, pence } = Message.make(number)
        expected.set(account, (expected.get(account) ?? 0) + pence)
      }
    }
    const [rows] = await pool.query("SELECT id, balance FROM account")
    const wrong = (rows as unknown as ReadonlyArray<{ readonly id: number; readonly balance: number }>).filter((row) =>
      Number(row.balance) !== (expected.get(row.id) ?? 0)
    )
    const total = jobs.reduce((sum, { count }) => sum + count, 0)
    const [[known]] = (await pool.query(`SELECT COUNT(*) AS ids FROM ${ids}`)) as unknown as [[{ ids: number }]]
    return [
      ...(wrong.length === 0 ? [] : [`${wrong.length} accounts have a wrong balance`]),
      ...(known.ids === total ? [] : [`${known.ids} message ids are known in place of ${total}`])
    ]
  })

/**
 * What is wrong where the messages came from streams.
 *
 * @since 0.1.0
 * @category steps
 */
export const verify = (
  pool: Pool,
  client: Parameters<typeof Driver.settled>[0],
  jobs: ReadonlyArray<Job>,
  ids: "handled" | "safesync_inbox"
): Effect.Effect<ReadonlyArray<string>, unknown> =>
  Effect.zipWith(applied(pool, jobs, ids), Driver.settled(client, jobs), (a, b) => [...a, ...b])
