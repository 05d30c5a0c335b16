/**
 * A delivery without a server, for a handler's unit test. It is the same hold as any other; what it asks the server is answered here, as
 * a server does where the entry is pending for this consumer, and told to the test.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Service } from "../Redis.js"
import { CommandFailed, type RedisError } from "../RedisError.js"
import * as Metrics from "../RedisStreamsMetrics.js"
import type { Headers } from "../StreamEntry.js"
import { type Acked, Acks, type Entry } from "./acks.js"
import * as begun from "./begun.js"
import type { Connection } from "./connection.js"
import * as deadEntry from "./deadEntry.js"
import * as failures from "./failures.js"
import { Entries, InFlight } from "./inFlight.js"
import { type Holder, Lease, parked } from "./lease.js"
import * as scripts from "./scripts.js"
import { Spares } from "./spares.js"

/** Told once, when the delivery is settled. */
export interface Told {
  readonly acked: () => void
  readonly retriedAfter: (delay: Duration.Duration) => void
  readonly handedBack: () => void
  readonly deadLettered: (reason: string) => void
}

export interface Options<out A> {
  readonly value: A
  readonly headers: Headers
  readonly id: string
  readonly attempt: number
  readonly stream: string
  readonly group: string
  readonly consumer: string
  readonly minIdle: Duration.Duration
}

export const make = <A>(
  { attempt, consumer, group, headers, id, minIdle, stream, value }: Options<A>,
  told: Told
): Lease<A> => {
  const minIdleMillis = Duration.toMillis(minIdle)
  const held = new Entries(new ToldAcks(told, stream, group, consumer))
  // No other consumer can take it.
  held.renewing = true
  let failed = 0
  const holder: Holder = {
    redis: service((script, args) => {
      if (script === scripts.deadLetter) {
        told.deadLettered(args[args.indexOf(deadEntry.fields.reason) + 1]!)
        return Effect.succeed("dead")
      }
      // No process has died of it.
      if (script === begun.begin) return Effect.succeed(0)
      if (script === failures.count) return Effect.sync(() => ++failed)
      if (script !== scripts.hold) return undefined
      const [, , owner, idle] = args
      if (owner === parked) told.retriedAfter(Duration.millis(minIdleMillis - Number(idle)))
      // It is begun again after a failure where it is given to its consumer as if it had been delivered just now.
      else if (idle !== "0") told.handedBack()
      return Effect.succeed([[], [], [], []] satisfies scripts.NotHeld)
    }),
    stream,
    group,
    consumer,
    deadLetterStream: `${stream}:dead`,
    minIdle: minIdleMillis,
    recreated: false,
    inFlight: held,
    closed: false,
    labels: Metrics.labels(stream)
  }
  return new Lease(holder, id, attempt, value, headers, performance.now(), undefined, undefined)
}

// internal

const noServer = (command: string): RedisError =>
  new CommandFailed({ command, detail: "the delivery was made for a test, without a server", code: "ERR" })

const run: Connection["run"] = (name, _, answer) => answer(noServer(name), undefined)

class ToldAcks extends Acks {
  constructor(private readonly told: Told, stream: string, group: string, consumer: string) {
    super(run, stream, group, consumer)
  }

  override ack(_: ReadonlyArray<Entry>, acked: Acked): void {
    this.told.acked()
    acked(undefined, [])
  }
}

const service = (
  answer: (script: scripts.Script, args: ReadonlyArray<string>) => Effect.Effect<unknown> | undefined
): Service => {
  const refuse = (name: string) => Effect.suspend(() => Effect.fail(noServer(name)))
  const script: Service["script"] = (script, _, args) =>
    Effect.suspend((): Effect.Effect<unknown, RedisError> => answer(script, args) ?? refuse(script.name))
  return {
    command: refuse,
    commands: ([first]) => refuse(first?.[0] ?? ""),
    script,
    read: () => refuse("XRANGE"),
    take: script,
    reserve: () => refuse("XREADGROUP"),
    spares: new Spares(() => {}),
    capabilities: Effect.succeed(new Set()),
    fork: (effect) => void Effect.runFork(effect),
    inFlight: new InFlight(run)
  }
}
