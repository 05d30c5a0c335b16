/** What is added to an entry when it dies. */

/** The names of the fields that a dead entry has beside its own. */
export const fields = {
  stream: "dead.stream",
  id: "dead.id",
  group: "dead.group",
  consumer: "dead.consumer",
  attempts: "dead.attempts",
  reason: "dead.reason"
} as const

/** How many fields are added. */
export const count = Object.keys(fields).length

export const deadLetterArgs = (
  holder: { readonly stream: string; readonly group: string; readonly consumer: string },
  entry: { readonly id: string; readonly fence: number; readonly attempts: number },
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
  reason
]
