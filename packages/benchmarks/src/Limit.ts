/**
 * What a contender was limited by, as far as it can be told from outside.
 *
 * @since 0.1.0
 */
import { cpus } from "node:os"
import type { Sample } from "./Benchmark.js"
import { spread } from "./Statistics.js"

/**
 * A process that has a core to itself; all cores; row locks that somebody waits for at every moment; the disk, where MySQL
 * spends half of the time in writing its logs. If it is none of these, what remains is the way to the servers and back.
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = (all: ReadonlyArray<Sample>): string => {
  const shares = (["node", "mysqld", "redis"] as const).flatMap((who) => {
    const values = all.flatMap(({ count, cpu, seconds }) => {
      const each = cpu[who]
      return each === null ? [] : [each * count / seconds / 10_000]
    })
    return values.length === 0 ? [] : [[who === "node" ? "Node" : who, spread(values).median] as const]
  })
  const waiting = (what: "rowLocks" | "fsync"): number => {
    const values = all.flatMap(({ waits }) => waits === null ? [] : [waits[what]])
    return values.length === 0 ? 0 : spread(values).median
  }
  const [rowLocks, fsync] = [waiting("rowLocks"), waiting("fsync")]
  const told = [
    ...shares.map(([who, share]) => `${who} ${share.toFixed(0)} %`),
    ...(fsync < 0.05 ? [] : [`fsync ${(fsync * 100).toFixed(0)} %`]),
    ...(rowLocks < 0.1 ? [] : [`${rowLocks.toFixed(1)} wait for row locks`])
  ].join(", ")
  const [first] = shares.toSorted(([, a], [, b]) => b - a)
  const busy = shares.reduce((sum, [, share]) => sum + share, 0)
  const by = rowLocks >= 1
    ? "row locks"
    : first !== undefined && first[1] >= 80
    ? first[0]
    : busy >= 85 * cpus().length
    ? "processors"
    : fsync >= 0.5
    ? "fsync"
    : shares.length === 0
    ? "unknown"
    : "round trips"
  return told === "" ? by : `${by} (${told})`
}
