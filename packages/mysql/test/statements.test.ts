import { expect, it } from "vitest"
import * as statements from "../src/internal/statements.js"

it("L5: which statements leave the session changed, whatever precedes them", () => {
  for (
    const sql of [
      "SET @x = 1",
      "set session sql_mode = ''",
      "/* who */ SET time_zone = '+00:00'",
      "-- why\nSET time_zone = '+00:00'",
      "# why\nUSE other",
      "/*!80000 SET time_zone = '+00:00' */",
      "UPDATE t SET a = 1; SET time_zone = '+00:00'",
      "UPDATE t SET a = 1;/* then */ USE other",
      "CALL anything()",
      "FLUSH TABLES WITH READ LOCK",
      "LOCK TABLES t READ",
      "XA START 'x'",
      "PREPARE p FROM 'SELECT 1'",
      "HANDLER t OPEN",
      "CREATE  TEMPORARY TABLE t (a INT)",
      "SELECT GET_LOCK('a', 1)",
      "SELECT /* hint */ get_lock ('a', 1)",
      "SELECT @a := 1",
      "SELECT @`a b` := 1",
      "SELECT a INTO @b FROM t",
      "GET DIAGNOSTICS @a = NUMBER",
      "LOAD DATA INFILE 'a' INTO TABLE t (@a, b) SET c = @a"
    ]
  ) expect([sql, statements.facts(sql).changesSession]).toEqual([sql, true])
  for (
    const sql of [
      "UPDATE t SET a = 1",
      "INSERT INTO t SET a = '; SET x = 1'",
      "INSERT INTO t VALUES ('it''s; USE other', \"a\\\"; SET b\")",
      "SELECT `; SET` FROM t -- ; SET a = 1",
      "SELECT a /* ; SET b = 1 */ FROM t",
      "SELECT 'GET_LOCK(1)', settings FROM calls",
      "INSERT INTO t SELECT @a"
    ]
  ) expect([sql, statements.facts(sql).changesSession]).toEqual([sql, false])
})

it("L7: which statements end the transaction and begin another, and which go back to a savepoint", () => {
  for (
    const sql of [
      "BEGIN",
      " /* a */ start  transaction",
      "COMMIT AND CHAIN",
      "COMMIT; BEGIN",
      "ROLLBACK WORK AND CHAIN"
    ]
  ) {
    expect([sql, statements.facts(sql).beginsAnother]).toEqual([sql, true])
  }
  for (const sql of ["COMMIT", "INSERT INTO t VALUES ('; BEGIN ')", "SELECT begin FROM t", "COMMIT; SELECT chain"]) {
    expect([sql, statements.facts(sql).beginsAnother]).toEqual([sql, false])
  }
  for (const sql of ["ANALYZE TABLE t", "/*!80000 CREATE TABLE t (a INT) */", "CALL p()", "SELECT 1;\nCHECK TABLE t"]) {
    expect([sql, statements.facts(sql).mayCommit]).toEqual([sql, true])
  }
  for (const sql of ["(SELECT 1)", "update t SET a = '; DROP'", "SELECT 1;", "# DROP\nDELETE FROM t", "SHOW TABLES"]) {
    expect([sql, statements.facts(sql).mayCommit]).toEqual([sql, false])
  }
  for (const sql of ["ROLLBACK TO a", "rollback  work to savepoint a", "/* a */ ROLLBACK TO SAVEPOINT a"]) {
    expect([sql, statements.facts(sql).toSavepoint]).toEqual([sql, true])
  }
  expect(statements.facts("ROLLBACK").toSavepoint).toBe(false)
})

it("which statements may be sent with their values in them: one alone, in which every question mark is a place for one", () => {
  for (
    const sql of [
      "SELECT a FROM t WHERE b = ?",
      "  insert INTO `t` (`a`) VALUES (?)",
      "UPDATE `t` SET `a` = ?, `b` = ? WHERE `id` = ?",
      "UPDATE t SET a = a + ? WHERE id = ? LIMIT ?",
      "DELETE FROM t WHERE a->b = ?",
      "REPLACE INTO t VALUES (?, ?)"
    ]
  ) expect([sql, statements.facts(sql).mayBeInlined]).toEqual([sql, true])
  for (
    const sql of [
      "UPDATE t SET a = ?; DELETE FROM t",
      "SELECT '?', a FROM t WHERE b = ?",
      "SELECT \"?\", a FROM t WHERE b = ?",
      "SELECT `?` FROM t WHERE b = ?",
      "SELECT `a` FROM t WHERE `b?` = ? AND `c` = ?",
      "SELECT a /* ? */ FROM t WHERE b = ?",
      "SELECT a FROM t WHERE b = ? -- ?",
      "SELECT a FROM t WHERE b = ? # ?",
      "CALL anything(?)",
      "SET @a = ?"
    ]
  ) expect([sql, statements.facts(sql).mayBeInlined]).toEqual([sql, false])
})
