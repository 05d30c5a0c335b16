/**
 * Names of tables, columns and indexes, quoted. Values are always bound, never written into a statement.
 *
 * @internal
 */

/**
 * Quotes the name of a table; a dot separates a schema from it. A part with a dot in it, or one that begins with a backtick, stands
 * in backticks as in SQL: `` `a.b` ``, `` shop.`a.b` ``. A name that MySQL takes for none (empty, longer than 64 characters, with a NUL or
 * a trailing space) is a mistake of the program and throws.
 *
 * https://dev.mysql.com/doc/refman/8.4/en/identifiers.html
 */
export const table = (name: string): string => parts(name).map(column).join(".")

export const column = (name: string): string => {
  if (name.length === 0 || name.length > 64 || name.includes("\0") || name.endsWith(" ")) {
    throw new Error(`Not an identifier of MySQL: ${JSON.stringify(name)}`)
  }
  return quoted(name)
}

export const quoted = (name: string): string => `\`${name.replaceAll("`", "``")}\``

/** A table's own name, without its schema and without backticks. */
export const ownName = (name: string): string => name.includes("`") ? parts(name).pop()! : afterLastDot(name)

// internal

const afterLastDot = (name: string): string => name.slice(name.lastIndexOf(".") + 1)

const part = /`((?:[^`]|``)*)`(?=\.|$)|[^.]*/y

const parts = (name: string): Array<string> => {
  const found: Array<string> = []
  for (part.lastIndex = 0; part.lastIndex <= name.length; part.lastIndex++) {
    const [plain, inBackticks] = part.exec(name)!
    found.push(inBackticks?.replaceAll("``", "`") ?? plain)
  }
  return found
}
