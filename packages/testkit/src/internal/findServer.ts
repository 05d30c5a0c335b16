import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import type { ServerControl } from "../ServerControl.js"
import type { ServerOrigin } from "../ServerOrigin.js"
import { type Attempt, ServerUnavailable } from "../ServerUnavailable.js"
import type { WayFailed } from "./engine.js"

/** A server that answered. */
export interface Found {
  readonly url: Redacted.Redacted<string>
  readonly version: string
  readonly origin: ServerOrigin
  readonly control: Option.Option<ServerControl>
}

/** One way of getting a server. */
export interface Way {
  readonly name: string
  readonly find: Effect.Effect<Found, WayFailed, Scope.Scope>
}

/** What a way that fails had opened is closed before the next one is tried. */
const ownScope = (way: Way): Effect.Effect<Found, WayFailed, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const outer = yield* Effect.scope
      const scope = yield* Scope.make()
      const exit = yield* Effect.exit(restore(Scope.extend(way.find, scope)))
      if (Exit.isSuccess(exit)) yield* Scope.addFinalizerExit(outer, (exit) => Scope.close(scope, exit))
      else yield* Scope.close(scope, exit)
      return yield* exit
    })
  )

/** The first way that works. `without` is what to say about ways that were not taken. */
export const first = (
  server: "MySQL" | "Redis",
  ways: ReadonlyArray<Way>,
  without: ReadonlyArray<Attempt> = []
): Effect.Effect<Found, ServerUnavailable, Scope.Scope> =>
  Effect.gen(function*() {
    const attempts = [...without]
    for (const way of ways) {
      const found = yield* Effect.either(ownScope(way))
      if (Either.isRight(found)) return found.right
      attempts.push({ way: way.name, reason: found.left.reason, hint: found.left.hint })
    }
    return yield* new ServerUnavailable({ server, attempts })
  })
