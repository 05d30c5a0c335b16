/**
 * Refusing what can never work, when a worker or relay is made rather than when its first message comes.
 *
 * @internal
 */
import * as Effect from "effect/Effect"

/** A whole number from 1 to `most`, else a defect. `of`: whose option it is. */
export const count = (of: string, option: string, value: number, most = Infinity): Effect.Effect<number> =>
  Number.isInteger(value) && value >= 1 && value <= most
    ? Effect.succeed(value)
    : Effect.dieMessage(
      `${of}: ${option} must be a whole number ${most === Infinity ? "above 0" : `from 1 to ${most}`}, not ${value}`
    )

/** The two words that the types ask for: without types, their lack would look like a failure of each message. */
export const words = (
  { inbox, onFailure }: { readonly inbox: unknown; readonly onFailure: unknown }
): Effect.Effect<void> => {
  if (inbox !== "message-id" && inbox !== "off" && typeof inbox !== "function") {
    return Effect.dieMessage(`Worker: inbox must be "message-id", "off" or a function, not ${String(inbox)}`)
  }
  return typeof onFailure === "function"
    ? Effect.void
    : Effect.dieMessage("Worker: onFailure must be a function that answers with a Disposition")
}
