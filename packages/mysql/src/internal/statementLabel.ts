/**
 * Which table a statement writes to, and how: the labels of its metrics, read from its text.
 *
 * It reads as far as it must and no further, which for most statements is their third word. What it does not understand
 * is no write: a label that is missing is better than one that is wrong.
 *
 * @internal
 */

export type Operation = "insert" | "replace" | "update" | "delete" | "load"

export type Statement =
  | { readonly _tag: "Write"; readonly table: string; readonly operation: Operation }
  /** A savepoint is set, or gone back to: what was written since then is undone. */
  | { readonly _tag: "Savepoint" | "RollbackTo"; readonly name: string }

/** What the statement does, if it concerns the metrics of writes. */
export const parse = (sql: string): Statement | undefined => {
  const words = new Words(sql)
  let first = words.next()
  if (first.keyword === "WITH") first = afterCommonTables(words)
  switch (first.keyword) {
    case "INSERT":
    case "REPLACE":
      return write(first.keyword === "INSERT" ? "insert" : "replace", inserted(words))
    case "UPDATE":
      return write("update", updated(words))
    case "DELETE":
      return write("delete", deleted(words))
    case "LOAD":
      return write("load", loaded(words))
    case "SAVEPOINT":
      return savepoint("Savepoint", words.next())
    case "ROLLBACK": {
      let word = words.next()
      if (word.keyword === "WORK") word = words.next()
      if (word.keyword !== "TO") return undefined
      word = words.next()
      return savepoint("RollbackTo", word.keyword === "SAVEPOINT" ? words.next() : word)
    }
  }
}

// internal

const write = (operation: Operation, table: string | undefined): Statement | undefined =>
  table === undefined ? undefined : { _tag: "Write", table, operation }

const savepoint = (_tag: "Savepoint" | "RollbackTo", word: Word): Statement | undefined =>
  word.name === undefined ? undefined : { _tag, name: word.name.toLowerCase() }

const modifiers = new Set([
  "LOW_PRIORITY",
  "DELAYED",
  "HIGH_PRIORITY",
  "QUICK",
  "IGNORE",
  "INTO",
  "CONCURRENT",
  "LOCAL"
])

const afterModifiers = (words: Words): Word => {
  let word = words.next()
  while (modifiers.has(word.keyword)) word = words.next()
  return word
}

/** `WITH a AS (…), b (x) AS (…) UPDATE …`: the word after them. */
const afterCommonTables = (words: Words): Word => {
  for (;;) {
    const word = words.next()
    if (word.text === "" || word.keyword === "SELECT" || word.keyword === "UPDATE" || word.keyword === "DELETE") {
      return word
    }
    if (word.text === "(") words.skipToClosing()
  }
}

const inserted = (words: Words): string | undefined => table(words, afterModifiers(words))?.name

const loaded = (words: Words): string | undefined => {
  for (let word = words.next(); word.text !== ""; word = words.next()) {
    if (word.keyword === "INTO") {
      return words.next().keyword === "TABLE" ? table(words, words.next())?.name : undefined
    }
  }
}

/** The first column that is set says which table is written; without a qualifier it is the first one. */
const updated = (words: Words): string | undefined => {
  const tables = references(words, afterModifiers(words), "SET")
  const first = tables[0]
  if (tables.length < 2) return first?.name
  const target = table(words, words.next())
  return resolve(tables, target?.schema) ?? first?.name
}

/** `DELETE FROM t`, `DELETE a, b FROM t a JOIN …`, `DELETE FROM a USING t a JOIN …`. The first of several is the label. */
const deleted = (words: Words): string | undefined => {
  let word = afterModifiers(words)
  const namesFirst = word.keyword !== "FROM"
  if (!namesFirst) word = words.next()
  const target = table(words, word)
  if (target === undefined) return undefined
  for (word = words.last; word.text !== ""; word = words.next()) {
    if (word.keyword === (namesFirst ? "FROM" : "USING")) {
      return resolve(references(words, words.next()), target.name) ?? target.name
    }
    // Only names, commas, points and stars come before it.
    if (word.name === undefined && word.text !== "," && word.text !== "." && word.text !== "*") break
    if (endsReferences.has(word.keyword)) break
  }
  return namesFirst ? undefined : target.name
}

interface Table {
  readonly name: string
  readonly schema: string | undefined
}

/** `name`, `schema.name`, `schema.name.*`, from this word on; the word after it becomes `words.last`. */
const table = (words: Words, word: Word): Table | undefined => {
  if (word.name === undefined) return undefined
  let schema: string | undefined
  let name = word.name
  for (let after = words.next(); after.text === "."; after = words.next()) {
    const part = words.next()
    if (part.name === undefined) {
      words.next()
      break
    }
    schema = name
    name = part.name
  }
  return { name, schema }
}

interface Reference {
  readonly name: string
  readonly alias: string
}

const resolve = (tables: ReadonlyArray<Reference>, alias: string | undefined): string | undefined =>
  tables.find((_) => _.alias === alias)?.name ?? tables.find((_) => _.name === alias)?.name

const endsReferences = new Set(["SET", "WHERE", "ORDER", "LIMIT", "RETURNING"])
const startsReference = new Set([",", "JOIN", "STRAIGHT_JOIN"])

/** The tables of a list or of joins, up to the word that ends them. Derived tables are skipped: nobody writes to them. */
const references = (words: Words, start: Word, end?: string): ReadonlyArray<Reference> => {
  const found: Array<Reference> = []
  let word = start
  let expected = true
  while (word.text !== "" && word.keyword !== end && !endsReferences.has(word.keyword)) {
    if (expected && word.keyword === "LATERAL") {
      word = words.next()
    } else if (expected && word.name !== undefined) {
      expected = false
      const { name } = table(words, word)!
      word = words.last
      if (word.keyword === "PARTITION") {
        words.next()
        words.skipToClosing()
        word = words.next()
      }
      if (word.keyword === "AS") word = words.next()
      const isAlias = word.name !== undefined && !isKeyword(word)
      found.push({ name, alias: isAlias ? word.name! : name })
      if (isAlias) word = words.next()
    } else if (word.text === "(") {
      // Either a derived table, or a join in parentheses, whose tables count.
      const inner = words.next()
      if (inner.keyword === "SELECT" || inner.keyword === "WITH" || !expected) {
        if (inner.text === "(") words.skipToClosing()
        if (inner.text !== ")") words.skipToClosing()
        expected = false
        word = words.next()
      } else {
        word = inner
      }
    } else {
      if (startsReference.has(word.keyword)) expected = true
      word = words.next()
    }
  }
  return found
}

const keywords = new Set([
  "SET",
  "JOIN",
  "STRAIGHT_JOIN",
  "INNER",
  "CROSS",
  "LEFT",
  "RIGHT",
  "NATURAL",
  "ON",
  "USING",
  "USE",
  "FORCE",
  "IGNORE",
  "WHERE",
  "ORDER",
  "LIMIT"
])
const isKeyword = (word: Word): boolean => keywords.has(word.keyword)

interface Word {
  /** Empty at the end. */
  readonly text: string
  /** In upper case, if it is not quoted. */
  readonly keyword: string
  /** If it can be an identifier: without its quotes. */
  readonly name: string | undefined
}

const end: Word = { text: "", keyword: "", name: undefined }

/** Blanks and comments, optimizer hints included. What a versioned comment (`/*!…`) holds is not looked at. */
const blank = /(?:\s+|\/\*[^]*?\*\/|--(?=\s|$)[^\n]*|#[^\n]*)*/y
const word = /[\p{L}\p{N}_$]+|`(?:[^`]|``)*`|"(?:[^"\\]|\\.|"")*"|'(?:[^'\\]|\\.|'')*'|[^]/uy

class Words {
  private at = 0
  last: Word = end

  constructor(private readonly sql: string) {}

  next(): Word {
    blank.lastIndex = this.at
    blank.exec(this.sql)
    word.lastIndex = blank.lastIndex
    const text = word.exec(this.sql)?.[0]
    this.at = word.lastIndex
    return this.last = text === undefined ? this.ended() : classify(text)
  }

  /** To the parenthesis that closes the one that was read last. */
  skipToClosing(): void {
    for (let depth = 1; depth > 0;) {
      const { text } = this.next()
      if (text === "") return
      if (text === "(") depth++
      if (text === ")") depth--
    }
  }

  private ended(): Word {
    this.at = this.sql.length
    return end
  }
}

const classify = (text: string): Word => {
  const first = text[0]!
  // A double quote delimits a name under ANSI_QUOTES and a string otherwise, and where a name is due there is no string.
  if (text.length > 1 && (first === "`" || first === "\"")) {
    return { text, keyword: "", name: text.slice(1, -1).replaceAll(first + first, first) }
  }
  return /^[\p{L}\p{N}_$]/u.test(text)
    ? { text, keyword: text.toUpperCase(), name: text }
    : { text, keyword: text, name: undefined }
}
