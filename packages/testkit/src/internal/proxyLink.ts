import type { Socket } from "node:net"

/** One connection through the proxy. */
export interface Link {
  /** Breaks it on both sides at once. */
  readonly reset: () => void
  /** Looks again at what may go on its way. */
  readonly flush: () => void
}

/** What the proxy sets for all of its connections. */
export interface LinkState {
  readonly requests: { readonly stalled: boolean }
  readonly replies: { readonly stalled: boolean }
  /** Milliseconds. */
  readonly latency: number
}

/** What is on its way: bytes, the end of the stream, or the news that the connection broke. */
interface Parcel {
  readonly due: number
  readonly content: Uint8Array | "end" | "reset"
}

/** Bytes that one direction of a connection may hold back before its sender is told to wait. */
const limit = 1 << 20

/**
 * Joins two sockets. `request` and `reply` see each piece as it arrives and say whether it goes on. Pieces, ends and resets of a
 * direction keep their order through stalls and delays.
 */
export const makeLink = (
  client: Socket,
  upstream: Socket,
  state: LinkState,
  on: {
    readonly request: (piece: Uint8Array) => boolean
    readonly reply: (piece: Uint8Array) => boolean
    readonly closed: () => void
  }
): Link => {
  let over = false
  const reset = () => {
    if (over) return
    over = true
    for (const socket of [client, upstream]) {
      if (socket.connecting) socket.destroy()
      else socket.resetAndDestroy()
    }
    on.closed()
  }
  const pipe = (
    from: Socket,
    to: Socket,
    isStalled: () => boolean,
    passes: (piece: Uint8Array) => boolean
  ) => {
    const way: Array<Parcel> = []
    let held = 0
    let timer: NodeJS.Timeout | undefined
    const send = (content: Parcel["content"]) => {
      way.push({ due: performance.now() + state.latency, content })
      if (typeof content !== "string") held += content.length
      if (held > limit) from.pause()
      flush()
    }
    const flush = () => {
      clearTimeout(timer)
      while (!over && way.length > 0 && !isStalled()) {
        const wait = way[0]!.due - performance.now()
        if (wait > 0) {
          timer = setTimeout(flush, wait)
          return
        }
        const { content } = way.shift()!
        if (content === "reset") reset()
        else if (content === "end") to.end()
        else {
          held -= content.length
          to.write(content)
        }
      }
      if (!over && held <= limit && from.isPaused()) from.resume()
    }
    from.on("data", (piece: Buffer) => {
      if (!over && passes(piece)) send(piece)
    })
    from.on("end", () => send("end"))
    // every error is followed by "close"
    from.on("error", () => {})
    from.on("close", (failed) => {
      if (failed) send("reset")
      else if (to.destroyed && !over) {
        over = true
        on.closed()
      }
    })
    return flush
  }
  const flushes = [
    pipe(client, upstream, () => state.requests.stalled, on.request),
    pipe(upstream, client, () => state.replies.stalled, on.reply)
  ]
  return { reset, flush: () => flushes.forEach((flush) => flush()) }
}
