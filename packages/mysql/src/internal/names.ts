/**
 * Names of tables and columns as plain `sql` of the client writes them, by its `transformQueryNames`, and those of results as it reads
 * them, by its `transformResultNames`.
 *
 * @internal
 */
import type { MysqlClient } from "@effect/sql-mysql2/MysqlClient"
import * as Statement from "@effect/sql/Statement"

export interface Names {
  readonly one: (name: string) => string
  readonly columns: <C extends object>(columns: C) => C
  readonly rows: <Row extends object>(rows: ReadonlyArray<Row>) => ReadonlyArray<Row>
}

export const of = ({ config: { transformQueryNames: query, transformResultNames: result } }: MysqlClient): Names =>
  query === undefined && result === undefined ? asTheyAre : {
    one: query ?? asTheyAre.one,
    columns: query === undefined
      ? asTheyAre.columns
      : (columns) => Object.fromEntries(Object.entries(columns).map(([name, value]) => [query(name), value])) as never,
    rows: result === undefined
      ? asTheyAre.rows
      : (rows) => Statement.defaultTransforms(result).array(rows as never) as never
  }

// internal

const asTheyAre: Names = { one: (name) => name, columns: (columns) => columns, rows: (rows) => rows }
