/**
 * Names of tables, columns and indexes, quoted. Values are always bound, never written into a statement.
 *
 * @internal
 */

/**
 * Quotes a name; a dot separates a schema from a table. What no identifier of MySQL may be (empty, longer than 64
 * characters, with a NUL or a trailing space) is a mistake of the program and throws.
 *
 * https://dev.mysql.com/doc/refman/8.4/en/identifiers.html
 */
export const table = (name: string): string => name.split(".").map(column).join(".")

export const column = (name: string): string => {
  if (name.length === 0 || name.length > 64 || name.includes("\0") || name.endsWith(" ")) {
    throw new Error(`Not an identifier of MySQL: ${JSON.stringify(name)}`)
  }
  return `\`${name.replaceAll("`", "``")}\``
}
