/** The acks of one turn of the event loop share one command, some 500 of them at most. Each waits for the server's answer. */
import { CommandFailed, type RedisError } from "../RedisError.js"
import * as Metrics from "../RedisStreamsMetrics.js"
import type { Connection } from "./connection.js"
import * as scripts from "./scripts.js"

/** Of one consumer. */
export class Acks {
  private ids: Array<string> = []
  private fences: Array<string> = []
  private waiting: Array<Acked> = []
  /** Whether the server has been given the script by this one, so that none of its acks goes out twice for that. */
  private isLoaded = false

  constructor(
    private readonly run: Connection["run"],
    private readonly stream: string,
    private readonly group: string,
    private readonly consumer: string
  ) {}

  ack(entries: ReadonlyArray<Entry>, acked: Acked): void {
    if (this.waiting.length === 0) setImmediate(() => this.flush())
    for (const { fence, id, isReused } of entries) {
      if (isReused) continue
      this.ids.push(id)
      this.fences.push(String(fence))
    }
    this.waiting.push(acked)
    if (this.ids.length >= scripts.pageSize) this.flush()
  }

  private flush(): void {
    const { fences, ids, waiting } = this
    if (waiting.length === 0) return
    this.waiting = []
    this.ids = []
    this.fences = []
    const args = ["1", this.stream, "XACK", this.group, this.consumer, ...ids, ...fences]
    const over = (error: RedisError | undefined, reply: unknown) => {
      const [count, reused] = error !== undefined
        ? [0, none]
        : typeof reply === "number"
        ? [reply, none]
        : reply as [number, ReadonlyArray<string>]
      // What somebody else had acked before is not in the server's count.
      Metrics.messagesAcked.unsafeUpdate(count, Metrics.labels(this.stream))
      for (const acked of waiting) acked(error, reused)
    }
    if (ids.length === 0) return over(undefined, 0)
    const load = () =>
      this.run("EVAL", [scripts.ack.lua, ...args], (error, reply) => {
        if (error === undefined) this.isLoaded = true
        over(error, reply)
      })
    if (!this.isLoaded) return load()
    this.run("EVALSHA", [scripts.ack.sha, ...args], (error, reply) => {
      // It has forgotten it, and has run nothing.
      if (error instanceof CommandFailed && error.code === "NOSCRIPT") load()
      else over(error, reply)
    })
  }
}

/** An entry as it was given to the consumer. */
export interface Entry {
  readonly id: string
  readonly fence: number
  /** Whether its id is known to be another entry's by now: that is not acked. */
  readonly isReused?: boolean
}

/** Called once, with what has failed, if something has, and with the ids that are another entry's by now. */
export type Acked = (error: RedisError | undefined, reused: ReadonlyArray<string>) => void

// internal

const none: ReadonlyArray<string> = []
