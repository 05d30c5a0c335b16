/** The acks of one turn of the event loop share one XACK per group. Each waits for the server's answer. */
import * as Effect from "effect/Effect"
import type { RedisError } from "../RedisError.js"
import * as Metrics from "../RedisStreamsMetrics.js"
import type { Callback } from "./connection.js"

export class Acks {
  private readonly open = new Map<string, { readonly args: Array<string>; readonly waiting: Array<Callback> }>()

  constructor(private readonly send: (name: string, args: ReadonlyArray<string>, callback: Callback) => void) {}

  ack(stream: string, group: string, id: string): Effect.Effect<void, RedisError> {
    return Effect.async((resume) => {
      const key = `${stream}\0${group}`
      let batch = this.open.get(key)
      if (batch === undefined) {
        batch = { args: [stream, group], waiting: [] }
        this.open.set(key, batch)
        setImmediate(() => this.flush(key))
      }
      batch.args.push(id)
      batch.waiting.push((error) => resume(error ? Effect.fail(error) : Effect.void))
    })
  }

  private flush(key: string): void {
    const batch = this.open.get(key)!
    this.open.delete(key)
    this.send("XACK", batch.args, (error, reply) => {
      // What somebody else had acked before is not in the server's count.
      if (typeof reply === "number") {
        Metrics.messagesAcked.unsafeUpdate(reply, Metrics.labels(batch.args[0]!))
      }
      for (const waiting of batch.waiting) {
        waiting(error, reply)
      }
    })
  }
}
