/**
 * The contract between a worker and its handler: whatever a handler does, it does in the transaction that it is given. This
 * suite tells whether yours keeps it. It runs the handler once undisturbed, then once for each point at which its process
 * could lose a server, and compares what is there at the end.
 *
 * What is written elsewhere (on another connection, to Redis, over HTTP) is not undone by a ROLLBACK: it is there again after the
 * message has come again. If `observe` sees it, the suite does.
 *
 * @since 0.1.0
 */
export * as Contract from "./Contract.js"

/**
 * Waiting for the server's own state, in place of a sleep of a guessed length.
 *
 * @since 0.1.0
 */
export * as Eventually from "./Eventually.js"

/**
 * Do concurrent writers lose updates? Several processes, each with a pool of its own, do the same thing to one hot row and
 * start at the same moment; then the row is compared with what they say they did.
 *
 * It is for your own strategy as much as for the built-in ones: a module that exports an `Increment` or an `Insert`.
 *
 * ```ts
 * layer(Layer.merge(MysqlServer.layer, Invariants.layer({ processes: 5 })), { excludeTestServices: true })("stock", (it) => {
 *   it.effect("our way of writing loses no update", () =>
 *     Effect.gen(function*() {
 *       const verdict = yield* Invariants.increments({ module: new URL("./ourStrategy.ts", import.meta.url) })
 *       expect(verdict.problems).toEqual([])
 *     }))
 * })
 * ```
 *
 * @since 0.1.0
 */
export * as Invariants from "./Invariants.js"

/**
 * What a leak probe says when a test left something behind on a server.
 *
 * @since 0.1.0
 */
export * as LeakFound from "./LeakFound.js"

/**
 * A real MySQL server for tests and demos: the one that is given by URL, or one of our own that goes away with its scope.
 *
 * @since 0.1.0
 */
export * as MysqlServer from "./MysqlServer.js"

/**
 * A real Prometheus for tests of metrics: it scrapes what it is told to, and answers queries. It goes away with its scope.
 *
 * @since 0.1.0
 */
export * as PrometheusServer from "./PrometheusServer.js"

/**
 * A real Redis server for tests and demos: the one that is given by URL, or one of our own that goes away with its scope.
 *
 * @since 0.1.0
 */
export * as RedisServer from "./RedisServer.js"

/**
 * Faults of a whole server: what a test may do to a server that was started for it.
 *
 * @since 0.1.0
 */
export * as ServerControl from "./ServerControl.js"

/**
 * Where a server came from.
 *
 * @since 0.1.0
 */
export * as ServerOrigin from "./ServerOrigin.js"

/**
 * The one error of finding a server: every way that was tried, why it did not work, and what the user can do.
 *
 * @since 0.1.0
 */
export * as ServerUnavailable from "./ServerUnavailable.js"

/**
 * A TCP proxy on loopback that a test puts between a client and a server to break the network at a named point.
 *
 * @since 0.1.0
 */
export * as TcpProxy from "./TcpProxy.js"

/**
 * A delivery for the unit test of a handler: it needs no Redis, and can be asked what has become of it.
 *
 * It goes wherever a delivery goes: to a handler that takes one, to `Delivery.use` and the rest of `Delivery`, and in a
 * `Stream.make` to a `Worker`.
 *
 * @since 0.1.0
 */
export * as TestDelivery from "./TestDelivery.js"
