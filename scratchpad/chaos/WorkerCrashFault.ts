/**
 * The cells of the crash matrix: the points of a message's way, how a worker is held at one of them, and what strikes it there.
 *
 * @since 0.1.0
 */
import type { TcpProxy } from "@safesync/testkit/TcpProxy"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import type { Hand } from "./WorkerCrashProcess.js"

/** How the proxies tell where a message is. */
const points = {
  "reading": { side: "redis", bytes: "XREADGROUP" },
  "BEGIN and the inbox": { side: "mysql", bytes: "START TRANSACTION" },
  "the first statement": { side: "mysql", bytes: "point:first" },
  "the second statement": { side: "mysql", bytes: "point:second" },
  "COMMIT": { side: "mysql", bytes: "COMMIT" },
  "the ack": { side: "redis", bytes: "XACK" }
} as const

const faults = ["worker killed", "MySQL killed", "Redis killed", "network cut", "network stalled"] as const

/**
 * One point of a message's way, and what happens there.
 *
 * @since 0.1.0
 * @category models
 */
export interface Cell {
  readonly point: keyof typeof points
  /** Before: the server never sees it. After: the server has done it, and its answer is lost. */
  readonly when: "before" | "after"
  readonly fault: typeof faults[number]
}

/**
 * All cells of the matrix.
 *
 * @since 0.1.0
 * @category models
 */
export const cells: ReadonlyArray<Cell> = Object.keys(points).flatMap((point) =>
  (["before", "after"] as const).flatMap((when) =>
    faults.map((fault): Cell => ({ point: point as Cell["point"], when, fault }))
  )
)

/**
 * How a report calls the cell.
 *
 * @since 0.1.0
 * @category models
 */
export const name = ({ fault, point, when }: Cell): string => `${fault} ${when} ${point}`

/**
 * Sets a trap at the cell's point of the worker: `sprung` waits for it. A trap that has not sprung must not do so in a later step.
 *
 * @since 0.1.0
 * @category faults
 */
export const arm = (cell: Cell, hand: Hand) =>
  Effect.gen(function*() {
    const { bytes, side } = points[cell.point]
    const trap = { armed: true }
    const comes = (piece: Uint8Array) =>
      trap.armed && Buffer.from(piece.buffer, piece.byteOffset, piece.length).includes(bytes)
    const reached = yield* cell.when === "before" ? hold(hand[side], comes) : hand[side].loseReplies(comes, "hang")
    const sprung = Effect.map(Effect.timeoutOption(reached, "20 seconds"), (yes) => {
      trap.armed = false
      return Option.isSome(yes)
    })
    return { cell, hand, sprung }
  })

/**
 * A server that can be killed, and started again with its data.
 *
 * @since 0.1.0
 * @category models
 */
export interface Control {
  readonly kill: Effect.Effect<void>
  readonly start: Effect.Effect<void, Error>
}

/**
 * What happens at the point. Afterwards the network is whole again, and whoever waits for a lost answer has been cut off.
 *
 * @since 0.1.0
 * @category faults
 */
export const strike = (
  { fault, when }: Cell,
  hand: Hand,
  servers: { readonly mysql: Control; readonly redis: Control }
) => {
  const proxies = [hand.mysql, hand.redis]
  const all = (f: (proxy: TcpProxy) => Effect.Effect<unknown>) => Effect.forEach(proxies, f, { discard: true })
  const mend = all((proxy) => proxy.resume())
  const cut = all((proxy) => proxy.cut)
  switch (fault) {
    case "worker killed":
      return Effect.zipRight(hand.kill, Effect.zipRight(cut, mend))
    case "network cut":
      return Effect.zipRight(cut, mend)
    case "network stalled":
      return all((proxy) => proxy.stall()).pipe(
        Effect.zipRight(Effect.sleep(stallMillis)),
        // What was held arrives late; an answer that is lost never does.
        Effect.zipRight(when === "before" ? Effect.void : cut),
        Effect.zipRight(mend)
      )
    case "MySQL killed":
    case "Redis killed": {
      const server = fault === "MySQL killed" ? servers.mysql : servers.redis
      return server.kill.pipe(
        Effect.zipRight(when === "before" ? Effect.void : cut),
        Effect.zipRight(mend),
        Effect.zipRight(server.start)
      )
    }
  }
}

// internal

/** Longer than minIdle, so that others take over what the stalled worker has, and than the time that Redis is given. */
const stallMillis = 1_500

/** Holds what a client sends from the point on: the effect that it gives waits for the point to be reached. */
const hold = (proxy: TcpProxy, comes: (piece: Uint8Array) => boolean): Effect.Effect<Effect.Effect<void>> =>
  Effect.flatMap(Effect.sync(() => Deferred.unsafeMake<void>(FiberId.none)), (reached) =>
    Effect.as(
      proxy.observe((piece) => {
        if (!comes(piece)) return false
        // Within the call that looks at the piece, so that this piece is the first that is held.
        Effect.runSync(proxy.stall("requests"))
        Deferred.unsafeDone(reached, Effect.void)
        return true
      }),
      Deferred.await(reached)
    ))
