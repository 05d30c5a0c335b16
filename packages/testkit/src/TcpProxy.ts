/**
 * A TCP proxy on loopback that a test puts between a client and a server to break the network at a named point.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"

import { freePort } from "./internal/freePort.js"
import { type Link, makeLink } from "./internal/proxyLink.js"

/**
 * The two ways of a connection: what clients send, and what the server answers.
 *
 * @since 0.1.0
 * @category models
 */
export type Direction = "requests" | "replies"

/**
 * Names a point in what a client sends: bytes that occur in it, also when they come in two pieces, or a predicate of
 * each piece as it arrives. What is inside TLS cannot be seen.
 *
 * @since 0.1.0
 * @category models
 */
export type Point = string | Uint8Array | ((piece: Uint8Array) => boolean)

/**
 * What has passed the proxy so far.
 *
 * @since 0.1.0
 * @category models
 */
export interface Counters {
  /** Connections that are open now. */
  readonly open: number
  /** Connections that were ever made. */
  readonly accepted: number
  /** Bytes that clients sent. */
  readonly requestBytes: number
  /** Bytes that the server sent. */
  readonly replyBytes: number
  /** How many times the server answered after a client had sent something: pipelined commands count as one. */
  readonly roundTrips: number
}

/**
 * A proxy in front of one server. What its operations set holds for the connections that are open and for those to come, until it
 * is set otherwise.
 *
 * @since 0.1.0
 * @category models
 */
export interface TcpProxy {
  readonly port: number
  /** The URL of a server, with this proxy in place of its host and port. */
  readonly through: (url: Redacted.Redacted<string>) => Redacted.Redacted<string>
  /** Resets all connections, on both sides, and says how many there were. */
  readonly cut: Effect.Effect<number>
  /** Stops listening: a new connection is refused, open ones go on. */
  readonly refuse: Effect.Effect<void>
  /** Listens again. */
  readonly accept: Effect.Effect<void>
  /** Holds back all bytes, or those of one direction, and the ends of connections too: nobody notices that the other is gone. */
  readonly stall: (direction?: Direction) => Effect.Effect<void>
  /** Lets go what was held back, in order. */
  readonly resume: (direction?: Direction) => Effect.Effect<void>
  /** Every byte arrives this much later, in each direction, so that a round trip takes twice as long; 0 takes it back. */
  readonly delay: (latency: Duration.DurationInput) => Effect.Effect<void>
  /**
   * Loses a reply: what the first client sends that reaches `point` arrives at the server, and the answer to it does not come back.
   * By then the server has done what it was asked for. The client then sees its connection reset ("cut"), or nothing at all ("hang").
   *
   * Gives an effect that waits for this to have happened. With pipelined commands the first answer after the point
   * counts, though it may belong to an earlier command.
   */
  readonly loseReplies: (
    point: Point,
    then?: "cut" | "hang" | undefined
  ) => Effect.Effect<Effect.Effect<void>>
  /** Cuts the first connection that reaches `point` before anything of that piece arrives at the server. */
  readonly loseRequest: (point: Point) => Effect.Effect<Effect.Effect<void>>
  /** Changes nothing; the effect that it gives waits until a client has sent `point`. */
  readonly observe: (point: Point) => Effect.Effect<Effect.Effect<void>>
  readonly counters: Effect.Effect<Counters>
}

/**
 * A proxy in front of the server of this URL (only host and port of it are used), for as long as the scope is open.
 *
 * @example
 * ```ts
 * import * as TcpProxy from "@safesync/testkit/TcpProxy"
 * import * as Effect from "effect/Effect"
 * import * as Redacted from "effect/Redacted"
 *
 * const program = Effect.gen(function*() {
 *   const server = Redacted.make("mysql://root@127.0.0.1:3306")
 *   const proxy = yield* TcpProxy.make(server)
 *   const lost = yield* proxy.loseReplies("COMMIT")
 *   // … run a transaction by proxy.through(server) in a fiber …
 *   yield* lost
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (url: Redacted.Redacted<string>): Effect.Effect<TcpProxy, never, Scope.Scope> =>
  Effect.gen(function*() {
    const runFork = Runtime.runFork(yield* Effect.runtime<never>())
    const target = new URL(Redacted.value(url))
    const host = target.hostname.replace(/^\[|\]$/g, "")
    const targetPort = Number(target.port || (target.protocol === "mysql:" ? 3306 : 6379))
    const links = new Set<Link>()
    const traps = new Set<Trap>()
    const counters = { accepted: 0, requestBytes: 0, replyBytes: 0, roundTrips: 0 }
    const state = { requests: { stalled: false }, replies: { stalled: false }, latency: 0 }

    const server = Net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      counters.accepted++
      const upstream = Net.connect({ host, port: targetPort, allowHalfOpen: true, noDelay: true })
      const found = new Map<Trap, Uint8Array>()
      let asked = false
      let losing: Trap | undefined
      const link = makeLink(client, upstream, state, {
        request: (piece) => {
          counters.requestBytes += piece.length
          asked = true
          for (const trap of traps) {
            if (!reaches(trap, piece, found)) continue
            traps.delete(trap)
            if (trap.kind === "reply") {
              losing = trap
              continue
            }
            runFork(Deferred.succeed(trap.sprung, void 0))
            if (trap.kind === "request") {
              link.reset()
              return false
            }
          }
          return true
        },
        reply: (piece) => {
          counters.replyBytes += piece.length
          if (asked) counters.roundTrips++
          asked = false
          if (losing === undefined) return true
          runFork(Deferred.succeed(losing.sprung, void 0))
          if (losing.then === "cut") link.reset()
          return false
        },
        closed: () => links.delete(link)
      })
      links.add(link)
    })

    const listen = (port: number): Effect.Effect<boolean> =>
      Effect.async((resume) => {
        const taken = () => resume(Effect.succeed(false))
        server.once("error", taken)
        server.listen({ port, host: "127.0.0.1" }, () => {
          server.off("error", taken)
          resume(Effect.succeed(true))
        })
      })
    // closing waits for the open connections, which is not what is meant: it does not listen any more from here on
    const close = Effect.sync(() => {
      if (server.listening) server.close()
    })
    const cut = Effect.sync(() => {
      const open = [...links]
      for (const link of open) link.reset()
      return open.length
    })
    const listenSomewhere: Effect.Effect<number> = Effect.flatMap(
      freePort,
      (port) => Effect.flatMap(listen(port), (done) => done ? Effect.succeed(port) : listenSomewhere)
    )
    const port = yield* Effect.acquireRelease(listenSomewhere, () => Effect.zipRight(close, cut))

    const update = (change: () => void) =>
      Effect.sync(() => {
        change()
        for (const link of links) link.flush()
      })
    const each = (direction: Direction | undefined, stalled: boolean) =>
      update(() => {
        if (direction !== "replies") state.requests.stalled = stalled
        if (direction !== "requests") state.replies.stalled = stalled
      })
    const trap = (point: Point, kind: Trap["kind"], then: Trap["then"] = "cut") =>
      Effect.map(Deferred.make<void>(), (sprung) => {
        traps.add({ point: typeof point === "function" ? point : Buffer.from(point as string), kind, then, sprung })
        return Deferred.await(sprung)
      })

    return {
      port,
      through: (url) => {
        const changed = new URL(Redacted.value(url))
        changed.host = `127.0.0.1:${port}`
        return Redacted.make(changed.href)
      },
      cut,
      refuse: close,
      accept: Effect.suspend(() =>
        server.listening ?
          Effect.void :
          Effect.flatMap(listen(port), (done) =>
            done ? Effect.void : Effect.dieMessage(`Port ${port} of the proxy has been taken by somebody else`))
      ),
      stall: (direction) => each(direction, true),
      resume: (direction) => each(direction, false),
      delay: (latency) =>
        update(() => {
          state.latency = Duration.toMillis(latency)
        }),
      loseReplies: (point, then) => trap(point, "reply", then),
      loseRequest: (point) => trap(point, "request"),
      observe: (point) => trap(point, "observe"),
      counters: Effect.sync(() => ({ open: links.size, ...counters }))
    }
  })

// internal

interface Trap {
  readonly point: Buffer | ((piece: Uint8Array) => boolean)
  readonly kind: "reply" | "request" | "observe"
  readonly then: "cut" | "hang"
  readonly sprung: Deferred.Deferred<void>
}

/** Whether a connection reaches the point with this piece. `tails` keeps the ends of earlier pieces, for bytes that come in two. */
const reaches = (trap: Trap, piece: Uint8Array, tails: Map<Trap, Uint8Array>): boolean => {
  const { point } = trap
  if (typeof point === "function") return point(piece)
  const bytes = Buffer.concat([tails.get(trap) ?? Buffer.alloc(0), piece])
  tails.set(trap, bytes.subarray(Math.max(0, bytes.length - point.length + 1)))
  return bytes.includes(point)
}
