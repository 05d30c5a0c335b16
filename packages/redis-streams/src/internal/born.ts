/**
 * The identity that tells the entries of a stream from those of another one of its name, on another server or in another database:
 * the id that the stream had given out last when its identity was made, and a nonce. Two streams may stand at the same id, as all do
 * that nothing was sent to yet; the nonce is never the same.
 *
 * A reader asks for it behind each read and by the same connection, or in the script that takes entries: whenever it is asked for
 * after an entry was added, the answer means the same for that entry. It was there before the entry and so is older; or it was made
 * later, and then the entry is not above its id, and keeps the name that it had without. So all readers agree, whenever they began.
 */
import { isAbove } from "./entryId.js"
import { beside, hasPlaceBeside } from "./slot.js"

/** Where a stream's identity is kept; nothing where there is no place for it in the stream's slot. */
export const keyOf = (stream: string): string | undefined => hasPlaceBeside(stream) ? beside(stream, "born") : undefined

/** For scripts that take it after the stream. */
export const keysOf = (stream: string): ReadonlyArray<string> => {
  const key = keyOf(stream)
  return key === undefined ? [stream] : [stream, key]
}

/** A reply that holds it. */
export const parse = (reply: unknown): string | undefined => {
  const born = reply == null ? "" : String(reply)
  return born === "" ? undefined : born
}

/** The identity that belongs to the id of an entry: nothing for those that were there before. */
export const ofEntry = (id: string, born: string | undefined): string | undefined =>
  born !== undefined && isAbove(id, born.slice(0, born.indexOf(":"))) ? born : undefined
