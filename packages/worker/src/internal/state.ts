/**
 * What a worker is doing, written by its loops and read by `Worker.status`.
 *
 * @internal
 */
import type { Delivery } from "@safesync/redis-streams/Delivery"
import * as Redis from "@safesync/redis-streams/Redis"
import { isTransient } from "@safesync/redis-streams/RedisError"
import * as TraceContext from "@safesync/redis-streams/TraceContext"
import type * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Disposition from "../Disposition.js"
import type { Status } from "../WorkerStatus.js"
import { Probe } from "./probe.js"
import { Servers } from "./servers.js"

export class State {
  private constructor(
    /** Handlers and their transactions, of which MySQL is the cause. */
    private readonly database: Redis.Outage,
    /** Deliveries that stay pending, since Redis is away or they are another's by now. */
    private readonly unsettled: Redis.Outage,
    readonly servers: Servers,
    /** Deliveries that are being handled, and whether their transactions have committed. */
    readonly running: Map<Delivery<unknown>, boolean>
  ) {
    this.probe = new Probe(servers)
  }

  readonly probe: Probe

  static make(name: string): Effect.Effect<State, never, Scope.Scope> {
    const running = new Map<Delivery<unknown>, boolean>()
    return Effect.annotateLogs(
      Effect.map(
        Effect.all([
          Redis.outage("MySQL cannot be used", "MySQL can be used again"),
          Redis.outage("Deliveries cannot be settled, and stay pending", "Deliveries are settled again"),
          Servers.make(() => running.size > 0)
        ]),
        ([database, unsettled, servers]) => new State(database, unsettled, servers, running)
      ),
      "worker",
      name
    )
  }

  phase: Status["state"] = "running"
  /** Milliseconds since the epoch; 0: never. */
  private lastSuccess = 0
  private lastFailure: Status["lastFailure"] = Option.none()

  begin(delivery: Delivery<unknown>): void {
    this.running.set(delivery, false)
  }

  committed(delivery: Delivery<unknown>): void {
    this.database.succeeded()
    this.servers.mysql.told(undefined)
    this.running.set(delivery, true)
  }

  isCommitted(delivery: Delivery<unknown>): boolean {
    return this.running.get(delivery) === true
  }

  succeeded(delivery: Delivery<unknown>): void {
    this.running.delete(delivery)
    this.settled()
    this.lastSuccess = Date.now()
  }

  /** Something could be said of a delivery to Redis. */
  settled(): void {
    this.unsettled.succeeded()
    this.servers.redis.told(undefined)
  }

  /** It stays pending: the consumer's own pending list or `Reclaim` delivers it again. */
  left({ group, id, stream }: Delivery<unknown>, error: Error): void {
    if (isTransient(error)) this.servers.redis.told(error.name)
    this.unsettled.failed({ stream, group, id, error: `${error.name}: ${error.message}` })
  }

  failed(cause: Cause.Cause<unknown>): void {
    if (Disposition.isOutage(cause)) {
      const error = TraceContext.errorType(cause)
      this.database.failed({ error })
      if (Disposition.isOfMysql(cause)) this.servers.mysql.told(error)
    }
    this.lastFailure = Option.some({ at: DateTime.unsafeMake(Date.now()), cause })
  }

  status(waiting: number): Status {
    let oldest = Infinity
    for (const { id } of this.running.keys()) oldest = Math.min(oldest, Number.parseInt(id))
    return {
      state: this.phase,
      inFlight: this.running.size,
      waiting,
      lastSuccess: this.lastSuccess === 0 ? Option.none() : Option.some(DateTime.unsafeMake(this.lastSuccess)),
      lastFailure: this.lastFailure,
      lag: oldest === Infinity ? Option.none() : Option.some(Duration.millis(Math.max(0, Date.now() - oldest))),
      mysql: this.servers.mysql.server,
      redis: this.servers.redis.server
    }
  }
}
