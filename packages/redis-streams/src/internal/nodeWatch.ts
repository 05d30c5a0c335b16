/** The watchdog of one node of a cluster: the driver waits for ever for one that keeps its connection and falls silent. */
import type { Redis } from "ioredis"

/**
 * Closes the node's connection when it has owed an answer for `timeout` milliseconds, a quarter more at the most, and nothing
 * has come. `onSilence` is told so before what is in flight fails, and again when it has. Not the driver's `socketTimeout`:
 * that one keeps the process alive when the connection has ended in the meantime.
 */
export const watchNode = (node: Redis, timeout: number, onSilence: (silent: boolean) => void): void => {
  node.on("connect", () => {
    const { stream } = node
    const owed = (node as unknown as { readonly commandQueue: { readonly length: number } }).commandQueue
    let busySince: number | undefined
    stream.on("data", () => {
      busySince = undefined
    })
    const look = () => {
      const now = performance.now()
      if (owed.length === 0 || stream.destroyed) {
        busySince = undefined
      } else if (busySince === undefined) {
        busySince = now
      } else if (now - busySince >= timeout) {
        onSilence(true)
        stream.once("close", () => setImmediate(onSilence, false))
        stream.destroy(new Error("the node did not answer in time"))
      }
    }
    // Timers come before what sockets bring, and this after it: when the process was asleep, the answer is there.
    const timer = setInterval(() => setImmediate(look), Math.max(timeout / 4, 1))
    timer.unref()
    stream.once("close", () => clearInterval(timer))
  })
}
