/**
 * What the demo says at its end: a table for people, or JSON for programs.
 *
 * @since 0.1.0
 */
import * as Table from "../terminal/Table.js"
import type { Audit } from "./Audit.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Report {
  /** Whether the audit holds, and, where a worker was to be killed, one was and the others took over what it had. */
  readonly ok: boolean
  readonly input: string
  readonly servers: { readonly mysql: string; readonly redis: string }
  readonly workers: number
  /** Whether one was to be killed. */
  readonly kill: boolean
  /** The worker that got SIGKILL; null when none was at work at the time. */
  readonly killed: {
    readonly name: string
    readonly pid: number
    /** Entries that were pending for it when it was dead. */
    readonly pending: number
    /** How many of them the others have claimed, by their own count. */
    readonly takenOver: number
  } | null
  /** Lines of the input. */
  readonly lines: number
  /** Entries in the stream: the lines, and some of them a second time. */
  readonly sent: number
  readonly applied: number
  /** Deliveries of entries that had been delivered before. */
  readonly redelivered: number
  /** Deliveries that the inbox refused, as the workers counted; what the killed one counted in its last moment is missing. */
  readonly duplicatesRefused: number
  readonly deadLettered: number
  readonly lost: number
  readonly appliedTwice: number
  /** Transactions that were run again, and how many of them because of an optimistic conflict. */
  readonly retries: number
  readonly conflicts: number
  /** From the first line that is sent, the start of the worker processes included, to the last ack. */
  readonly seconds: number
  readonly linesPerSecond: number
  readonly audit: Pick<Audit, "compared" | "differences">
}

/**
 * @since 0.1.0
 * @category output
 */
export const toJson = (report: Report): string => JSON.stringify(report, undefined, 2)

/**
 * @since 0.1.0
 * @category output
 */
export const toTable = (report: Report): string => {
  const { compared, differences } = report.audit
  const { killed } = report
  const rows: ReadonlyArray<readonly [string, number | string]> = [
    ["lines of the input", report.lines],
    ["entries sent (some lines twice)", report.sent],
    ["lines applied", report.applied],
    ["killed by SIGKILL", killed?.name ?? "nobody"],
    ...(killed === null ? [] : [
      ["entries pending for it then", killed.pending] as const,
      ["taken over by other workers", killed.takenOver] as const
    ]),
    ["entries redelivered", report.redelivered],
    ["duplicates refused", report.duplicatesRefused],
    ["dead-lettered", report.deadLettered],
    ["lost", report.lost],
    ["applied twice", report.appliedTwice],
    ["transactions retried", report.retries],
    ["optimistic conflicts", report.conflicts],
    ["seconds", report.seconds.toFixed(1)],
    ["lines a second", Math.round(report.linesPerSecond)]
  ]
  const verdict = differences.length === 0
    ? `The audit holds: ${counted(compared.products, "product")}, ${counted(compared.accounts, "account")} and ` +
      `${counted(compared.invoices, "invoice")} are what a sequential computation says, to the penny and the piece.`
    : `The audit FAILS, ${counted(differences.length, "difference")}:`
  return [
    ...Table.make(rows),
    verdict,
    ...Table.list(differences),
    ...complaint(report)
  ].join("\n")
}

/**
 * Whether the others took over all that the killed worker had.
 *
 * @since 0.1.0
 * @category models
 */
export const isTakenOver = (killed: NonNullable<Report["killed"]>): boolean =>
  killed.pending > 0 && killed.takenOver === killed.pending

// internal

/** What was to be shown beside the audit, and was not. */
const complaint = ({ kill, killed }: Report): ReadonlyArray<string> => {
  if (!kill) return []
  if (killed === null) {
    return [
      "But the input was too short: no worker was at work when one was to be killed. Give more --lines, or --no-kill."
    ]
  }
  return isTakenOver(killed)
    ? []
    : ["But not everything that was pending for the killed worker was taken over by others."]
}

const counted = (count: number, noun: string): string =>
  `${count.toLocaleString("en-GB")} ${noun}${count === 1 ? "" : "s"}`
