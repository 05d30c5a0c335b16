// The floors of the house: a module imports only from its own floor and lower ones, and `mysql` and `redis-streams` never import
// each other. This is the one list: the linter holds it, and READMEs show it. What lies in `internal/` has the floor of the lowest
// module that needs it.
import { existsSync, readdirSync } from "node:fs"

export const floors = {
  mysql: [
    [
      ...["LockParty", "MysqlError", "MysqlMetrics", "TransactionError"],
      ...["driverError", "errnoTable", "errorMessage", "identifier", "known", "described", "origin"].map((name) => `internal/${name}`)
    ],
    [
      ...["LockDiagnosis", "Transaction"],
      ...["ambient", "begin", "blockers", "body", "bounded", "canceller", "cancelling", "commitOracle", "control", "cursor", "duration", "inlined", "lastingConnection"]
        .concat("lifecycle", "link", "literals", "lockWaits", "outcome", "outside", "own", "packetSize", "phase", "pool", "reservation", "rowStream", "savepoint", "savepoints", "serverStart", "session", "nesting", "ownStatements")
        .concat("sideConnection", "silence", "statementLabel", "statements", "submission", "tracing", "turns", "writes")
        .map((name) => `internal/${name}`)
    ],
    [
      ...["AdvisoryLock", "IdempotentInsert", "RowLock", "Rows"],
      ...["getLock", "heldLock", "lockConnections", "lockName", "lockTimes", "lockingRead", "names", "permits", "where"]
        .map((name) => `internal/${name}`)
    ],
    ["CommitOracle", "FencingToken", "Inbox", "Occ", "Outbox", "internal/bytes", "internal/json", "internal/outboxPartition", "internal/outboxReads", "internal/outboxTable", "internal/purge", "internal/relayWakeups"]
  ],
  "redis-streams": [
    ["RedisError", "RedisStreamsMetrics", "internal/labels", "internal/outage", "internal/described", "internal/duration"],
    [
      "Redis",
      ...["acks", "blocking", "capabilities", "classify", "cluster", "connection", "inFlight", "nodeWatch", "options", "scripts", "serverUrl", "spares"]
        .map((name) => `internal/${name}`)
    ],
    [
      ...["ConsumerGroup", "Delivery", "StreamEntry", "StreamIdentity", "TraceContext"],
      ...["arrival", "born", "deadEntry", "demand", "detached", "entryId", "failures", "firstFailure", "groupState", "handBack", "json", "lease", "renewal", "running", "slot", "upkeep", "withoutValues", "begun"].map((name) => `internal/${name}`)
    ],
    [
      ...["DeadLetter", "GroupMetrics", "Reclaim", "StreamConsumer", "StreamProducer"],
      ...["deadCount", "fetched", "handout", "lostGroup", "pulse", "reads", "sending", "trimming"].map((name) => `internal/${name}`)
    ]
  ],
  worker: [
    [
      ...["Disposition", "LeaseExpired", "WorkerMetrics", "WorkerStatus"],
      ...["batches", "demand", "duration", "held", "intake", "observed", "options", "probe", "retryDelay", "servers", "settled", "slots", "solitude", "state", "outage"].map((name) => `internal/${name}`)
    ],
    [
      ...["OutboxRelay", "Worker", "WorkerOptions"],
      ...["batching", "handling", "lifecycle", "outboxBatch", "relayMemory", "settling", "transacted"].map((name) => `internal/${name}`)
    ]
  ]
}

const modulesOf = (name) =>
  ["", "internal/"].flatMap((folder) =>
    readdirSync(`packages/${name}/src/${folder}`)
      .filter((file) => file.endsWith(".ts") && file !== "index.ts")
      .map((file) => folder + file.slice(0, -3))
  )

/** What is wrong with the list: a module without a floor, or a floor's module that does not exist. */
export const gaps = () =>
  Object.entries(floors).flatMap(([name, levels]) => {
    const listed = levels.flat()
    return [
      ...modulesOf(name).filter((module) => !listed.includes(module)).map((module) => `${name}/${module} has no floor`),
      ...listed.filter((module) => !existsSync(`packages/${name}/src/${module}.ts`))
        .map((module) => `${name}/${module} has a floor and does not exist`)
    ]
  })

/** For `import-x/no-restricted-paths`. */
export const zones = Object.entries(floors).flatMap(([name, levels]) =>
  levels.slice(0, -1).map((modules, level) => ({
    target: modules.map((module) => `./packages/${name}/src/${module}.ts`),
    from: levels.slice(level + 1).flat().map((module) => `./packages/${name}/src/${module}.ts`),
    message: `A module of floor ${level} of ${name} imports only from floors up to its own.`
  }))
)

/** The public modules as a table, for READMEs. */
export const table = () => {
  const names = Object.keys(floors)
  const height = Math.max(...Object.values(floors).map((levels) => levels.length))
  const cell = (modules = []) =>
    modules.filter((module) => !module.startsWith("internal/")).map((module) => `\`${module}\``).join(", ")
  return [
    `| floor | ${names.map((name) => `\`${name}\``).join(" | ")} |`,
    `|${"---|".repeat(names.length + 1)}`,
    ...Array.from({ length: height }, (_, level) => `| ${level} | ${names.map((name) => cell(floors[name][level])).join(" | ")} |`)
  ].join("\n")
}
