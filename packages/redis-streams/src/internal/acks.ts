/** The acks of one turn of the event loop share one XACK. Each waits for the server's answer. */
import type { RedisError } from "../RedisError.js"
import * as Metrics from "../RedisStreamsMetrics.js"
import type { Connection } from "./connection.js"

/** Of one group. */
export class Acks {
  private args: Array<string> = []
  private waiting: Array<Acked> = []

  constructor(
    private readonly run: Connection["run"],
    private readonly stream: string,
    private readonly group: string
  ) {}

  ack(ids: ReadonlyArray<string>, acked: Acked): void {
    if (this.waiting.length === 0) {
      this.args = [this.stream, this.group]
      setImmediate(() => this.flush())
    }
    for (const id of ids) this.args.push(id)
    this.waiting.push(acked)
  }

  private flush(): void {
    const { waiting } = this
    this.waiting = []
    this.run("XACK", this.args, (error, reply) => {
      // What somebody else had acked before is not in the server's count.
      if (typeof reply === "number") {
        Metrics.messagesAcked.unsafeUpdate(reply, Metrics.labels(this.stream))
      }
      for (const acked of waiting) acked(error)
    })
  }
}

/** Called once, with what has failed, if something has. */
export type Acked = (error: RedisError | undefined) => void
