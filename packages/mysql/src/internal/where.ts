/**
 * `{ column: value }` as a condition: every value bound by position, null as IS NULL.
 *
 * @internal
 */
import * as identifier from "./identifier.js"

export type Value = string | number | bigint | boolean | Date | Uint8Array | null

export type Columns = { readonly [column: string]: Value }

export interface Fragment {
  readonly sql: string
  readonly values: ReadonlyArray<Value>
}

/** An empty condition would match every row: it is a mistake of the program and throws. */
export const equal = (columns: Columns): Fragment => {
  const names = Object.keys(columns)
  if (names.length === 0) throw new Error("A condition without columns would match every row of the table")
  return {
    sql: names.map((name) => `${identifier.column(name)} ${columns[name] === null ? "IS NULL" : "= ?"}`).join(" AND "),
    values: names.map((name) => bound(columns[name]!)).filter((value) => value !== null)
  }
}

/** mysql2 sends bytes as bytes only from a Buffer; from another view it sends them as text of the connection's charset. */
export const bound = <V extends Value | undefined>(value: V): V =>
  value instanceof Uint8Array && !Buffer.isBuffer(value)
    ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) as Uint8Array as V
    : value

/** Refuses `{}` where the compiler can see it. */
export type NonEmpty<C extends Columns> = keyof C extends never ?
  "Name at least one column: an empty condition would match every row"
  : C
