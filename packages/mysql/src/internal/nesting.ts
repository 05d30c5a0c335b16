/**
 * The savepoints that are open on a session, and in which of them a fiber is.
 *
 * The value of `TransactionConnection` in a fiber's context tells the latter: every savepoint has one of its own, which all fibers that
 * are forked in its body inherit. `Transaction.savepoint` says when it begins and ends. A nested `sql.withTransaction` does not: its
 * SAVEPOINT is sent from around its body, and where the body succeeds nothing more is sent. So the fiber that has set it is looked at.
 *
 * @internal
 */
import * as Client from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type * as Context from "effect/Context"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as ambient from "./ambient.js"

/** The connection that plain statements run on, and in how many savepoints they are. */
export type Place = readonly [connection: Connection, depth: number]

/** A savepoint that is open. */
export interface Opened {
  readonly name: string
  readonly depth: number
  /** In the context of its body; that of a nested `sql.withTransaction` is seen later. */
  place: Place | undefined
  /** Of a nested `sql.withTransaction`: the fiber that has set it. */
  readonly fiber: Fiber.RuntimeFiber<unknown, unknown> | undefined
  /** The server has set it, so its body has begun. */
  begun: boolean
  /** One around it was gone back to before it had ended. */
  undone: boolean
}

/** Where a context is on a connection, seen through the transactions of other clients. */
export const placeOn = (context: Context.Context<never>, connection: unknown): Place | undefined => {
  for (let at: Context.Context<never> | undefined = context; at !== undefined; at = ambient.around(at)) {
    const place: Place | undefined = at.unsafeMap.get(Client.TransactionConnection.key)
    if (place?.[0] === connection) return place
  }
  return undefined
}

export class Nesting {
  /** Whether there has ever been a savepoint: without one there is nothing to compare. */
  used = false
  private readonly open: Array<Opened> = []
  /** Fibers whose nested `sql.withTransaction` could not set its savepoint: it goes back to it all the same. */
  private readonly unset: Array<unknown> = []

  constructor(private readonly connection: Connection) {}

  /** Whether the fiber that runs is in the innermost savepoint that is open. */
  isInnermost(): boolean {
    const fiber = running()
    const place = fiber && placeOn(fiber.currentContext, this.connection)
    for (;;) {
      const last = this.open.at(-1)
      if (last === undefined) return place === undefined || place[1] === 0
      if (this.look(last) !== undefined && last.place === place) return true
      if (!this.hasLeft(last)) return false
      this.open.pop()
    }
  }

  /** Whether one is open that no body has left. */
  get isInside(): boolean {
    for (let last = this.open.at(-1); last !== undefined && this.hasLeft(last); last = this.open.at(-1)) this.open.pop()
    return this.open.length > 0
  }

  /** One of `Transaction.savepoint`, set by the fiber that runs. */
  enter(name: string): Opened & { readonly place: Place } {
    const fiber = running()
    const depth = ((fiber && placeOn(fiber.currentContext, this.connection))?.[1] ?? 0) + 1
    return this.add({
      name,
      depth,
      place: [this.connection, depth] as const,
      fiber: undefined,
      begun: false,
      undone: false
    })
  }

  /** One of a nested `sql.withTransaction`, set by the fiber that runs. */
  enterNested(name: string, depth: number): Opened {
    return this.add({ name, depth, place: undefined, fiber: running(), begun: false, undone: false })
  }

  /** Ends one, and all that are in it. Whether it was open. */
  leave(opened: Opened, undone: boolean): boolean {
    const at = this.open.indexOf(opened)
    if (at < 0) return false
    for (const inner of this.open.splice(at)) inner.undone = undone
    return true
  }

  /** The nested `sql.withTransaction` of the fiber that runs has no savepoint. */
  notSet(): void {
    this.unset.push(running())
  }

  /** Ends the nested `sql.withTransaction` of the fiber that runs, which has failed. */
  leaveNested(name: string): "left" | "was not open" | "was never set" {
    const fiber = running()
    const unset = this.unset.indexOf(fiber)
    if (unset >= 0) {
      this.unset.splice(unset, 1)
      return "was never set"
    }
    const opened = this.open.findLast((_) => _.name === name && _.fiber === fiber)
    return opened !== undefined && this.leave(opened, true) ? "left" : "was not open"
  }

  private add<A extends Opened>(opened: A): A {
    this.used = true
    this.open.push(opened)
    return opened
  }

  /** Where its body is, as far as the fiber that has set it shows. */
  private look(opened: Opened): Place | undefined {
    if (opened.place === undefined && opened.fiber !== undefined) {
      const place = placeOn(opened.fiber.currentContext, this.connection)
      if (place?.[1] === opened.depth) opened.place = place
    }
    return opened.place
  }

  private hasLeft(opened: Opened): boolean {
    const { begun, depth, fiber } = opened
    if (fiber === undefined || !begun) return false
    if (fiber.unsafePoll() !== null) return true
    const place = placeOn(fiber.currentContext, this.connection)
    return place === undefined || place[1] < depth || place[1] === depth && place !== this.look(opened)
  }
}

// internal

/** None where the runtime runs none, which the callers of this do not do. */
const running = (): Fiber.RuntimeFiber<unknown, unknown> | undefined => Option.getOrUndefined(Fiber.getCurrentFiber())
