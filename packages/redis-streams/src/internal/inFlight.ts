/**
 * What this process holds, by stream, group and consumer: fetched or being worked on, and neither acked nor handed back.
 * It keeps a consumer from being given again what it already has, when it reads its own pending entries after a
 * reconnect or reclaims what is stale.
 */
export interface Held {
  readonly id: string
  /** The delivery count that proves at the server that the entry is still held under this delivery. */
  fence: number
}

/** What one consumer holds here, by id. */
export class Entries extends Map<string, Held> {
  /** Where `StreamConsumer.next` goes on among what is pending for the consumer; nothing when it has seen the end. */
  own: string | undefined = "-"
}

export class InFlight {
  private readonly held = new Map<string, Entries>()

  of(stream: string, group: string, consumer: string): Entries {
    const key = `${stream}\0${group}\0${consumer}`
    let entries = this.held.get(key)
    if (entries === undefined) {
      entries = new Entries()
      this.held.set(key, entries)
    }
    return entries
  }
}
