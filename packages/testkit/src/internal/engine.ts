import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { ServerControl } from "../ServerControl.js"
import { ServerUnavailable } from "../ServerUnavailable.js"
import { freePort } from "./freePort.js"

/** Why one way of getting a server did not work. */
export class WayFailed extends Data.TaggedError("WayFailed")<{
  readonly reason: string
  readonly hint: string
}> {
  override get message(): string {
    return `${this.reason} ${this.hint}`
  }
}

/** What runs a server: a process of ours, or a container. */
export interface Engine {
  /** Begins to start the server; it does not answer yet. */
  readonly spawn: (port: number) => Effect.Effect<void, WayFailed>
  /** Waits until the server started last is no longer there. */
  readonly ended: Effect.Effect<void>
  readonly isRunning: Effect.Effect<boolean>
  readonly pid: Effect.Effect<Option.Option<number>>
  readonly signal: (signal: "KILL" | "TERM" | "STOP" | "CONT") => Effect.Effect<void>
  /** What the server printed since it was started last. */
  readonly log: Effect.Effect<string>
}

/** Asks whether the server at this port is the one that the engine runs, and ready. The failure says why not. */
export type Ready = (port: number, pid: Option.Option<number>) => Effect.Effect<void, { readonly reason: string }>

/** As much of a server's log as a message can hold. */
export const endOf = (log: string): string => `The end of its log:\n${log.trim().split("\n").slice(-12).join("\n")}`

class PortTaken extends Data.TaggedError("PortTaken")<{ readonly log: string }> {}

const portIsTaken = /address already in use|already running on port|port is already allocated|failed to bind host port/i

const startOn = (
  engine: Engine,
  port: number,
  ready: Ready,
  timeout: Duration.DurationInput
): Effect.Effect<void, WayFailed | PortTaken> => {
  let last = "it was never asked"
  const answers: Effect.Effect<void> = Effect.flatMap(engine.pid, (pid) => ready(port, pid)).pipe(
    Effect.catchAll((error) => {
      last = error.reason
      return Effect.delay(Effect.suspend(() => answers), "30 millis")
    })
  )
  const endedEarly = Effect.zipRight(
    engine.ended,
    Effect.flatMap(engine.log, (log): Effect.Effect<never, WayFailed | PortTaken> =>
      portIsTaken.test(log) ?
        new PortTaken({ log }) :
        new WayFailed({ reason: "it ended while it was starting.", hint: endOf(log) }))
  )
  return Effect.zipRight(
    engine.spawn(port),
    Effect.raceFirst(answers, endedEarly).pipe(
      Effect.timeoutOption(timeout),
      Effect.flatMap(Option.match({
        onSome: () => Effect.void,
        onNone: () =>
          Effect.zipRight(
            engine.signal("KILL"),
            Effect.flatMap(engine.log, (log) =>
              Effect.fail(
                new WayFailed({
                  reason: `it did not answer within ${Duration.format(Duration.decode(timeout))} (${last}).`,
                  hint: endOf(log)
                })
              ))
          )
      }))
    )
  )
}

/** Starts a server on a free port, another one if somebody was quicker, and gives the hand on it. */
export const launch = (
  server: ServerUnavailable["server"],
  engine: Engine,
  ready: Ready,
  timeout: Duration.DurationInput = "90 seconds"
): Effect.Effect<{ readonly port: number; readonly control: ServerControl }, WayFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const attempt: Effect.Effect<number, WayFailed | PortTaken> = Effect.flatMap(
      freePort,
      (port) => Effect.as(startOn(engine, port, ready, timeout), port)
    )
    const port = yield* Effect.retry(attempt, { times: 3, while: (error) => error._tag === "PortTaken" }).pipe(
      Effect.catchTag(
        "PortTaken",
        ({ log }) => new WayFailed({ reason: "no port could be taken.", hint: endOf(log) })
      )
    )
    const one = yield* Effect.makeSemaphore(1)
    const whenRunning = (effect: Effect.Effect<void>) =>
      one.withPermits(1)(Effect.uninterruptible(Effect.whenEffect(effect, engine.isRunning))).pipe(Effect.asVoid)
    const kill = Effect.zipRight(engine.signal("KILL"), engine.ended)
    const control: ServerControl = {
      pid: engine.pid,
      kill: whenRunning(kill),
      stop: whenRunning(
        // a stopped process takes no SIGTERM before it goes on
        Effect.zipRight(engine.signal("CONT"), engine.signal("TERM")).pipe(
          Effect.zipRight(Effect.timeoutOption(Effect.interruptible(engine.ended), "30 seconds")),
          Effect.flatMap(Option.match({ onSome: () => Effect.void, onNone: () => kill }))
        )
      ),
      start: one.withPermits(1)(
        Effect.unlessEffect(startOn(engine, port, ready, timeout), engine.isRunning).pipe(
          Effect.catchAll((error) =>
            new ServerUnavailable({
              server,
              attempts: [
                error._tag === "WayFailed" ?
                  { way: "starting it again", reason: error.reason, hint: error.hint } :
                  { way: "starting it again", reason: `port ${port} has been taken by somebody else.`, hint: "" }
              ]
            })
          )
        )
      ).pipe(Effect.asVoid),
      pause: whenRunning(engine.signal("STOP")),
      resume: whenRunning(engine.signal("CONT"))
    }
    return { port, control }
  })
