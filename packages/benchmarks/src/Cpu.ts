/**
 * Processor time and memory, of this process and of servers on this machine.
 *
 * @since 0.1.0
 */
import { readFileSync } from "node:fs"

/**
 * Microseconds that this process has had, in all its threads.
 *
 * @since 0.1.0
 * @category accessors
 */
export const own = (): number => {
  const { system, user } = process.cpuUsage()
  return system + user
}

/**
 * Microseconds that another process has had, in steps of 10,000; null where that cannot be known: no process, no Linux.
 *
 * @since 0.1.0
 * @category accessors
 */
export const of = (pid: number | null): number | null => {
  if (pid === null) return null
  try {
    // proc(5): what follows the name, which may hold anything but ends with the last parenthesis; utime and stime.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "").split(" ")
    return (Number(fields[11]) + Number(fields[12])) * microsecondsPerTick
  } catch {
    return null
  }
}

/**
 * The most memory that another process has had so far, in megabytes; 0 where that cannot be known.
 *
 * @since 0.1.0
 * @category accessors
 */
export const peakMegabytes = (pid: number): number => {
  try {
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024
  } catch {
    return 0
  }
}

// internal

/** USER_HZ is 100 on every Linux that Node runs on. */
const microsecondsPerTick = 10_000
