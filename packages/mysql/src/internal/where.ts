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

/** Columns by their properties, so that an interface, which has no index signature, fits as well as a record. */
export type ColumnsOf<C> = object & { readonly [column in keyof C]: Value } & {
  readonly [Symbol.iterator]?: "An array has no names of columns"
}

/**
 * Refuses `{}` where the compiler can see it. Of a type parameter it cannot, so there might be any name: with `string` in its place no
 * type is refused, and generic code compiles (`IfKnown` tells how).
 */
export type NonEmpty<C> = [[string] extends [keyof C] ? string : keyof C] extends [never] ?
  "Name at least one column: an empty condition would match every row"
  : C

/** `Refusal` where the compiler can see that the column is one of these, and they themselves where it cannot. */
export type Without<Column extends string, C, Refusal extends string, Columns> =
  [[string] extends [Column] ? unknown : Column] extends [[string] extends [keyof C] ? never : keyof C] ? Refusal
    : Columns
