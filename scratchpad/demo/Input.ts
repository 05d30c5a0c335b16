/**
 * The lines to work on: from a CSV file with the columns of the Online Retail data set, packed with gzip or not, or from
 * text that was generated in its likeness.
 *
 * Everything that can be wrong with a file is found here, before a server is started.
 *
 * @since 0.1.0
 */
import { parse } from "csv-parse"
import * as Effect from "effect/Effect"
import { open } from "node:fs/promises"
import { Readable } from "node:stream"
import { createGunzip } from "node:zlib"
import { DemoError } from "./DemoError.js"
import { columns, type RawLine } from "./InvoiceLine.js"

/**
 * Reads a file, no more than `limit` lines of it.
 *
 * @since 0.1.0
 * @category reading
 */
export const fromFile = (path: string, limit: number): Effect.Effect<ReadonlyArray<RawLine>, DemoError> =>
  Effect.tryPromise({
    try: async () => {
      const file = await open(path)
      try {
        const magic = await file.read(Buffer.alloc(2), 0, 2, 0)
        if (magic.bytesRead === 0) throw new Unusable("it is empty", "Give a CSV file with a header and lines")
        const bytes = file.createReadStream({ start: 0, autoClose: false })
        return await lines(magic.buffer.equals(gzip) ? unpacked(bytes) : bytes, limit)
      } finally {
        await file.close()
      }
    },
    catch: (cause) => explain(path, cause)
  })

/**
 * Reads CSV text, no more than `limit` lines of it.
 *
 * @since 0.1.0
 * @category reading
 */
export const fromText = (text: Iterable<string>, limit: number): Effect.Effect<ReadonlyArray<RawLine>, DemoError> =>
  Effect.tryPromise({
    try: () => lines(Readable.from(text), limit),
    catch: (cause) => explain("(generated)", cause)
  })

// internal

const gzip = Buffer.from([0x1f, 0x8b])

const unpacked = (bytes: Readable): Readable => {
  const gunzip = createGunzip()
  bytes.on("error", (error) => gunzip.destroy(error))
  return bytes.pipe(gunzip)
}

class Unusable extends Error {
  constructor(readonly problem: string, readonly remedy: string) {
    super(problem)
  }
}

const lines = async (text: Readable, limit: number): Promise<ReadonlyArray<RawLine>> => {
  // Too few or too many fields in a line are the line's own trouble; it goes to the dead letters like any other.
  const parser = parse({ bom: true, relaxColumnCount: true, skipEmptyLines: true })
  text.on("error", (error) => parser.destroy(error))
  text.pipe(parser)
  const found: Array<RawLine> = []
  let header: ReadonlyArray<string> | undefined
  for await (const record of parser as AsyncIterable<ReadonlyArray<string>>) {
    if (header === undefined) {
      header = record.map((name) => name.trim())
      const missing = columns.filter((column) => !header!.includes(column))
      if (missing.length > 0) {
        throw new Unusable(
          `it lacks the column${missing.length === 1 ? "" : "s"} ${missing.join(", ")}`,
          `Its first line must name the columns ${columns.join(",")}`
        )
      }
    } else {
      found.push(rawLine(found.length + 1, header, record))
      if (found.length === limit) break
    }
  }
  text.destroy()
  if (found.length === 0) {
    throw new Unusable(
      header === undefined ? "it is empty" : "it has a header and no lines",
      "Give a CSV file with lines"
    )
  }
  return found
}

const rawLine = (line: number, header: ReadonlyArray<string>, record: ReadonlyArray<string>): RawLine => {
  const raw: Record<string, unknown> = { line }
  for (const column of columns) {
    const value = record[header.indexOf(column)]
    if (value !== undefined) raw[column] = value
  }
  return raw as unknown as RawLine
}

const explain = (path: string, cause: unknown): DemoError => {
  const [problem, remedy] = reason(cause)
  return new DemoError({
    message: `--input ${path}: ${problem}. ${remedy}, or leave --input out for a generated input.`
  })
}

const reason = (cause: unknown): readonly [problem: string, remedy: string] => {
  if (cause instanceof Unusable) return [cause.problem, cause.remedy]
  const { code, message } = cause as { readonly code?: string; readonly message?: string }
  switch (code) {
    case "ENOENT":
    case "ENOTDIR":
      return ["there is no such file", "Correct the path"]
    case "EISDIR":
      return ["it is a folder", "Give the path of a CSV file"]
    case "EACCES":
      return ["it may not be read", "Change its permissions"]
    case "Z_BUF_ERROR":
      return ["the gzip file ends too early, it is truncated", "Copy it again"]
    case "Z_DATA_ERROR":
      return ["the gzip file is damaged", "Copy it again"]
    default:
      return [`it cannot be read as CSV (${firstLine(message ?? String(cause))})`, "Give a CSV file"]
  }
}

const firstLine = (text: string): string => text.split("\n")[0]!.replace(/\.$/, "")
