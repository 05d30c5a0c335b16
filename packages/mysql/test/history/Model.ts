// What must come of a program: it is walked through beside the log of what was seen, and every step of the log must be one that
// is allowed there. Where the server has a choice (who gets a lock that two fibers want, whether a COMMIT that was interrupted
// had begun), the log says which it took, and the rest must follow from it.
import type { Observed, Outcome, Run } from "./Execute.js"
import type * as Program from "./Program.js"

/** What a fiber alone has a hand in. */
export interface State {
  /** Its rows, by id without the fiber's base. */
  readonly rows: ReadonlyMap<number, number>
  /** How much it has added to the shared rows. */
  readonly tally: ReadonlyMap<number, number>
  /** The transactions that left one. */
  readonly receipts: ReadonlySet<number>
}

export const initial: State = { rows: new Map([[1, 0], [2, 0]]), tally: new Map(), receipts: new Set() }

export interface Setting {
  readonly base: number
  readonly receipt: number
  /** Whether another fiber, or a connection that is being closed, may hold what this one wants. */
  readonly contended: boolean
}

export interface Verdict {
  /** What is in the tables; the second, where the log does not tell whether it was committed. */
  readonly either: readonly [State, State?]
  /** The marks that must have been left if the first of them is there. */
  readonly marks: ReadonlyArray<number>
  /** Whether the connection was thrown away: its locks may be held for a moment. */
  readonly discarded: boolean
}

export class Mismatch extends Error {}

type Result = "ok" | "interrupt" | (string & {})

type Phase =
  | { readonly _tag: "Open" }
  | { readonly _tag: "Doomed"; readonly reason: string }
  /** `noticed: false`: the server has closed the connection, and we may not know it yet. */
  | { readonly _tag: "Lost"; readonly noticed: boolean }

/** The session of the library ends a statement that was interrupted within 200 ms, or gives its connection up. */
const givesUpAfter = 150

const defaultSeconds = 50

/** The statements of which InnoDB may make a victim of a deadlock, or which may wait too long. */
const contention: Readonly<Record<string, ReadonlyArray<Outcome>>> = {
  Insert: ["Deadlock", "LockWaitTimeout"],
  Update: ["Deadlock", "LockWaitTimeout"],
  Delete: ["Deadlock", "LockWaitTimeout"],
  Tally: ["Deadlock", "LockWaitTimeout"],
  RowLock: ["Deadlock", "LockWaitTimeout", "LockNotAvailable"],
  AdvisoryLock: ["AdvisoryLockTimeout", "AdvisoryLockDeadlock"]
}

export const judge = (program: Program.Program, run: Run, before: State, setting: Setting): Verdict => {
  const { base, contended, receipt } = setting
  let committed = before
  let uncertain: State | undefined
  let state = before
  let phase = { _tag: "Open" } as Phase
  let marks: ReadonlyArray<number> = []
  let variable = false
  let position = 0
  const mayBeInterrupted = program.interrupt !== undefined

  const wrong = (step: unknown, seen: unknown, expected: string): never => {
    throw new Mismatch(`${JSON.stringify(step)}: saw ${JSON.stringify(seen)}, expected ${expected}`)
  }

  /** What was noted of a step; none where the fiber was interrupted before it began. */
  const take = (step: Program.Step | "receipt"): Observed | undefined => {
    const next = run.log[position]
    if (next?.step === step) {
      position++
      return next
    }
    if (!mayBeInterrupted) wrong(step, next, "that it is run")
    return undefined
  }

  const refusals = (): ReadonlyArray<Outcome> =>
    phase._tag === "Doomed"
      ? [`TransactionAborted ${phase.reason}`]
      : phase._tag === "Lost"
      ? ["TransactionAborted connection-lost", ...(phase.noticed ? [] : ["ConnectionLost"])]
      : []

  const refused = (step: unknown, outcome: Outcome): Result => {
    if (!refusals().includes(outcome)) wrong(step, outcome, refusals().join(" or "))
    if (phase._tag === "Lost") phase = { _tag: "Lost", noticed: true }
    return outcome
  }

  const leaf = (step: Program.Leaf | "receipt", seen: Observed): Result => {
    const { outcome, value } = seen
    const is = (expected: Outcome): Result => outcome === expected ? outcome : wrong(step, outcome, expected)
    const reads = (expected: unknown): Result =>
      outcome !== "ok" || JSON.stringify(value) === JSON.stringify(expected)
        ? is("ok")
        : wrong(step, value, JSON.stringify(expected))
    if (outcome === "interrupt" && mayBeInterrupted) {
      if (phase._tag === "Open" && step !== "receipt" && step._tag === "ImplicitCommit") uncertain = state
      return "interrupt"
    }
    if (step === "receipt") {
      state = { ...state, receipts: new Set([...state.receipts, receipt]) }
      return is("ok")
    }
    switch (step._tag) {
      case "Fail":
        return is("Fail")
      case "Die":
        return is("die")
      case "Interrupt":
        return is("interrupt")
      case "AfterCommit":
        marks = [...marks, step.mark]
        return is("ok")
      case "KillConnection":
        phase = { _tag: "Lost", noticed: phase._tag === "Lost" && phase.noticed }
        return is("ok")
    }
    if (phase._tag !== "Open") return refused(step, outcome)
    if (contended && contention[step._tag]?.includes(outcome)) {
      if (outcome === "Deadlock") phase = { _tag: "Doomed", reason: "deadlock" }
      return outcome
    }
    const rows = new Map(state.rows)
    switch (step._tag) {
      case "Insert":
        if (rows.has(step.id)) return is("DuplicateKey")
        state = { ...state, rows: rows.set(step.id, step.v) }
        return is("ok")
      case "Update":
        if (rows.has(step.id)) state = { ...state, rows: rows.set(step.id, step.v) }
        return is("ok")
      case "Delete":
        rows.delete(step.id)
        state = { ...state, rows }
        return is("ok")
      case "Tally":
        state = { ...state, tally: new Map(state.tally).set(step.id, (state.tally.get(step.id) ?? 0) + 1) }
        return is("ok")
      case "Read":
        return reads([1, 2, 3].filter((id) => rows.has(id)).map((id) => ({ id: base + id, v: rows.get(id) })))
      case "RowLock":
        return reads(rows.has(step.id) ? { id: base + step.id, v: rows.get(step.id) } : null)
      case "AdvisoryLock":
        return reads("alone")
      case "SetVariable":
        variable = true
        return is("ok")
      case "LookAtSession":
        return reads([{ history: variable ? 1 : 0, seconds: program.lockWaitTimeout ?? defaultSeconds }])
      case "Cancelled":
        if (seen.phase === "Lost" && seen.millis > givesUpAfter) phase = { _tag: "Lost", noticed: true }
        return is("ok")
      case "BadStatement":
        return is("StatementFailed")
      case "ImplicitCommit":
        committed = state
        phase = { _tag: "Doomed", reason: "implicit-commit" }
        return is("ok")
    }
  }

  /** The block's own end is noted too, since its savepoint is made and left by statements that may be refused. */
  const block = (step: Program.Block): Result => {
    const undone = { state, marks }
    const opens = step._tag === "Caught" || phase._tag === "Open"
    // A connection that is gone without our knowledge: only the log says whether the body was reached.
    const inner = opens ? steps(step.steps) : undefined
    const seen = take(step)
    if (seen === undefined) return "interrupt"
    const { outcome } = seen
    if (inner === undefined) return outcome === "interrupt" && mayBeInterrupted ? outcome : refused(step, outcome)
    if (step._tag === "Caught") {
      const caught = step.what === "failures" ? isFailure(inner) : inner === "die"
      const expected = caught ? "ok" : inner
      // Effect skips the handlers of a fiber that is being interrupted; a defect stays in the cause, a failure does not.
      const skipped = mayBeInterrupted && (outcome === "interrupt" || outcome === "die" && outcome === inner)
      if (outcome !== expected && !skipped) wrong(step, outcome, expected)
      return outcome
    }
    if (inner !== "ok") {
      if (phase._tag === "Open") state = undone.state
      marks = undone.marks
      return outcome === inner || mayBeInterrupted && outcome === "interrupt" ? outcome : wrong(step, outcome, inner)
    }
    if (outcome === "ok" && (phase._tag === "Open" || step._tag === "Nested")) return outcome
    if (mayBeInterrupted && outcome === "interrupt") return outcome
    if (step._tag === "Savepoint" && phase._tag !== "Open") return refused(step, outcome)
    return wrong(step, outcome, "ok")
  }

  const steps = (list: ReadonlyArray<Program.Step>): Result => {
    for (const step of list) {
      const result = "steps" in step ? block(step) : single(step)
      if (result !== "ok") return result
    }
    return "ok"
  }

  const single = (step: Program.Leaf | "receipt"): Result => {
    const seen = take(step)
    return seen === undefined ? "interrupt" : leaf(step, seen)
  }

  const first = single("receipt")
  const body = first === "ok" ? steps(program.steps) : first
  if (position < run.log.length) wrong("the end", run.log[position], "no more steps")

  const expected = ((): ReadonlyArray<Outcome> => {
    const aborted = (tag: string) => program.form === "run" ? tag : `die ${tag}`
    const end = phase
    if (body !== "ok") return [body]
    if (end._tag === "Open") return ["ok"]
    if (end._tag === "Doomed") return [aborted(`TransactionAborted ${end.reason}`)]
    return [
      aborted("TransactionAborted connection-lost"),
      ...(end.noticed ? [] : [aborted("CommitOutcomeUnknown")])
    ]
  })()
  const interrupted = mayBeInterrupted && run.outcome === "interrupt"
  if (!expected.includes(run.outcome) && !interrupted) wrong("the transaction", run.outcome, expected.join(" or "))

  const written = body === "ok" && phase._tag === "Open" && run.finished
  const discarded = phase._tag === "Lost" || interrupted
  if (!written) return { either: uncertain === undefined ? [committed] : [committed, uncertain], marks: [], discarded }
  return { either: interrupted ? [state, committed] : [state], marks, discarded }
}

const isFailure = (result: Result): boolean =>
  result !== "ok" && result !== "interrupt" && result !== "die" && !result.startsWith("die ")
