/** What is added to an entry when it dies. */
import { bounded } from "./described.js"

/** The names of the fields that a dead entry has beside its own. */
export const fields = {
  stream: "dead.stream",
  id: "dead.id",
  group: "dead.group",
  consumer: "dead.consumer",
  attempts: "dead.attempts",
  reason: "dead.reason"
} as const

/**
 * It comes last, and only where the stream has an identity: so that a replay is known by what the entry was known by, whatever has
 * become of the stream.
 */
export const born = "dead.born"

/** How many fields are added, without that. */
export const count = Object.keys(fields).length

export const deadLetterArgs = (
  holder: { readonly stream: string; readonly group: string; readonly consumer: string },
  entry: { readonly id: string; readonly fence: number; readonly attempts: number; readonly born: string | undefined },
  reason: string
): Array<string> => [
  holder.group,
  holder.consumer,
  entry.id,
  String(entry.fence),
  fields.stream,
  holder.stream,
  fields.id,
  entry.id,
  fields.group,
  holder.group,
  fields.consumer,
  holder.consumer,
  fields.attempts,
  String(entry.attempts),
  fields.reason,
  bounded(reason),
  ...(entry.born === undefined ? [] : [born, entry.born])
]
