/**
 * Redis Cluster: the driver finds the nodes and follows redirections, which say that a command was not carried out. What it
 * would send a second time after a lost connection is switched off.
 */
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import { Cluster, type ClusterOptions, type RedisOptions } from "ioredis"
import type { ConnectionOptions } from "node:tls"
import type { RedisError } from "../RedisError.js"
import { ClusterDown } from "../RedisError.js"
import type { Connection } from "./connection.js"
import * as serverUrl from "./serverUrl.js"

export type Address = { readonly host: string; readonly port: number }

/** Where to begin, and what all nodes have in common: the login and TLS of the first URL. */
export const parse = (urls: ReadonlyArray<Redacted.Redacted<string>>, options: ConnectionOptions | undefined): {
  readonly nodes: ReadonlyArray<Address>
  readonly shared: RedisOptions
} => {
  const parsed = urls.map((url, i) => serverUrl.parse(url, i === 0 ? options : undefined))
  const [first] = parsed
  if (first === undefined) {
    throw new Error("a cluster needs the URL of at least one node")
  }
  if (parsed.some(({ options: { db = 0 } }) => db !== 0)) {
    throw new Error("a cluster has one database, which is 0")
  }
  const { db: _, host: _host, port: _port, ...shared } = first.options
  return { nodes: parsed.map(({ host, port = 6379 }) => ({ host, port })), shared }
}

export const make = (
  nodes: ReadonlyArray<Address>,
  shared: RedisOptions,
  required: RedisOptions,
  natMap: ClusterOptions["natMap"]
): Cluster => {
  const { lazyConnect: _, retryStrategy, ...redisOptions } = required
  return new Cluster(nodes.map((node) => ({ ...node })), {
    redisOptions: { ...shared, ...redisOptions, disconnectTimeout: 100 },
    lazyConnect: true,
    // While a node that is needed for the first time is being connected, its commands wait. Without any connection to the
    // cluster they are refused before they come here.
    enableOfflineQueue: true,
    // These would send a command again whose connection was lost or that a node refused.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    clusterRetryStrategy: (times) => retryStrategy?.(times) as number | null,
    slotsRefreshInterval: 5000,
    ...(natMap === undefined ? {} : { natMap })
  })
}

/** The node that holds the master of this key's slot now. */
export const nodeOf = (cluster: Connection, key: string): Effect.Effect<Address, RedisError> =>
  Effect.flatMap(cluster.commands([["CLUSTER", "KEYSLOT", key], ["CLUSTER", "SLOTS"]]), ([slot, ranges]) => {
    const range = (ranges as ReadonlyArray<readonly [number, number, readonly [string, number]]>)
      .find(([first, last]) => first <= (slot as number) && (slot as number) <= last)
    return range === undefined
      ? Effect.fail(new ClusterDown({ command: "CLUSTER SLOTS", detail: "no node holds the slot of this stream" }))
      : Effect.succeed({ host: range[2][0], port: range[2][1] })
  })
