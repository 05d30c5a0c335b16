// Random programs: what they are made of, and how fast-check makes them. Everything in them is data, so that a counterexample
// can be read, shrunk and run again.
import * as FastCheck from "effect/FastCheck"

/** `id` is one of the fiber's own rows: what becomes of them does not depend on the other fiber. */
export type Leaf =
  | { readonly _tag: "Insert"; readonly id: number; readonly v: number }
  | { readonly _tag: "Update"; readonly id: number; readonly v: number }
  | { readonly _tag: "Delete"; readonly id: number }
  | { readonly _tag: "Read" }
  /** Adds one to a row that the fibers share. */
  | { readonly _tag: "Tally"; readonly id: number }
  | { readonly _tag: "RowLock"; readonly id: number; readonly wait: "wait" | "nowait" | "skip-locked" | "5 seconds" }
  /** A name that the fibers share. */
  | { readonly _tag: "AdvisoryLock"; readonly name: string; readonly timeout: "0 millis" | "50 millis" | "250 millis" }
  | { readonly _tag: "AfterCommit"; readonly mark: number }
  | { readonly _tag: "SetVariable" }
  | { readonly _tag: "LookAtSession" }
  /** Waits in vain until the server shows it waiting, and is interrupted then. */
  | { readonly _tag: "Cancelled"; readonly what: "sleep" | "row" | "advisory" }
  | { readonly _tag: "BadStatement" }
  | { readonly _tag: "ImplicitCommit"; readonly by: "create" | "commit" | "begin" }
  /** Somebody else ends the connection. */
  | { readonly _tag: "KillConnection" }
  | { readonly _tag: "Fail" }
  | { readonly _tag: "Die" }
  | { readonly _tag: "Interrupt" }

export type Block =
  | { readonly _tag: "Savepoint"; readonly steps: ReadonlyArray<Step> }
  /** `sql.withTransaction`, which is a savepoint there. */
  | { readonly _tag: "Nested"; readonly steps: ReadonlyArray<Step> }
  | { readonly _tag: "Caught"; readonly what: "failures" | "defects"; readonly steps: ReadonlyArray<Step> }

export type Step = Leaf | Block

export interface Program {
  readonly form: "run" | "make"
  readonly isolation: "read-committed" | "repeatable-read" | undefined
  readonly lockWaitTimeout: number | undefined
  /** From outside, so many turns of the event loop after the begin of that leaf, or of COMMIT. */
  readonly interrupt: { readonly at: number | "end"; readonly turns: number } | undefined
  readonly steps: ReadonlyArray<Step>
}

export interface History {
  readonly connections: number
  /** One fiber each: transactions, one after the other. */
  readonly fibers: ReadonlyArray<ReadonlyArray<Program>>
}

const id = FastCheck.integer({ min: 1, max: 3 })
const v = FastCheck.nat(9)

const weighted = <A>(weight: number, arbitrary: FastCheck.Arbitrary<A>) => ({ weight, arbitrary })

const one = <A extends Leaf>(leaf: A): FastCheck.Arbitrary<Leaf> => FastCheck.constant(leaf)

const leaf: FastCheck.Arbitrary<Leaf> = FastCheck.oneof(
  weighted(5, FastCheck.record({ _tag: FastCheck.constant("Insert" as const), id, v })),
  weighted(5, FastCheck.record({ _tag: FastCheck.constant("Update" as const), id, v })),
  weighted(3, FastCheck.record({ _tag: FastCheck.constant("Delete" as const), id })),
  weighted(3, one({ _tag: "Read" })),
  weighted(
    3,
    FastCheck.record({ _tag: FastCheck.constant("Tally" as const), id: FastCheck.integer({ min: 1, max: 2 }) })
  ),
  weighted(
    3,
    FastCheck.record({
      _tag: FastCheck.constant("RowLock" as const),
      id,
      wait: FastCheck.constantFrom("wait" as const, "nowait" as const, "skip-locked" as const, "5 seconds" as const)
    })
  ),
  weighted(
    3,
    FastCheck.record({
      _tag: FastCheck.constant("AdvisoryLock" as const),
      name: FastCheck.constantFrom("north", "South"),
      timeout: FastCheck.constantFrom("0 millis" as const, "50 millis" as const, "250 millis" as const)
    })
  ),
  weighted(3, FastCheck.record({ _tag: FastCheck.constant("AfterCommit" as const), mark: FastCheck.nat(99) })),
  weighted(1, one({ _tag: "SetVariable" })),
  weighted(2, one({ _tag: "LookAtSession" })),
  weighted(
    2,
    FastCheck.record({
      _tag: FastCheck.constant("Cancelled" as const),
      what: FastCheck.constantFrom("sleep" as const, "row" as const, "advisory" as const)
    })
  ),
  weighted(1, one({ _tag: "BadStatement" })),
  weighted(
    1,
    FastCheck.record({
      _tag: FastCheck.constant("ImplicitCommit" as const),
      by: FastCheck.constantFrom("create" as const, "commit" as const, "begin" as const)
    })
  ),
  weighted(1, one({ _tag: "KillConnection" })),
  weighted(2, one({ _tag: "Fail" })),
  weighted(1, one({ _tag: "Die" })),
  weighted(1, one({ _tag: "Interrupt" }))
)

const undone = ([_tag, steps]: readonly ["Savepoint" | "Nested", ReadonlyArray<Step>]): Step => ({
  _tag: "Caught",
  what: "failures",
  steps: [{ _tag, steps: [...steps, { _tag: "Fail" }] }]
})

const { steps } = FastCheck.letrec<{ readonly steps: ReadonlyArray<Step>; readonly step: Step }>((tie) => ({
  steps: FastCheck.array(tie("step"), { maxLength: 5, depthIdentifier: "steps" }),
  step: FastCheck.oneof(
    { depthSize: "small", withCrossShrink: true, depthIdentifier: "steps" },
    weighted(5, leaf),
    weighted(1, FastCheck.record({ _tag: FastCheck.constant("Savepoint" as const), steps: tie("steps") })),
    weighted(1, FastCheck.record({ _tag: FastCheck.constant("Nested" as const), steps: tie("steps") })),
    weighted(
      2,
      FastCheck.record({
        _tag: FastCheck.constant("Caught" as const),
        what: FastCheck.constantFrom("failures" as const, "defects" as const),
        steps: tie("steps")
      })
    ),
    // By chance alone it is rare that a part is undone and what is around it is committed.
    weighted(
      2,
      FastCheck.tuple(FastCheck.constantFrom("Savepoint" as const, "Nested" as const), tie("steps")).map(undone)
    )
  )
}))

const optional = <A>(arbitrary: FastCheck.Arbitrary<A>, freq: number): FastCheck.Arbitrary<A | undefined> =>
  FastCheck.option(arbitrary, { nil: undefined, freq })

const program: FastCheck.Arbitrary<Program> = FastCheck.record({
  form: FastCheck.constantFrom("run" as const, "make" as const),
  isolation: optional(FastCheck.constantFrom("read-committed" as const, "repeatable-read" as const), 2),
  lockWaitTimeout: optional(FastCheck.constant(2), 2),
  interrupt: optional(
    FastCheck.record({
      at: FastCheck.oneof(FastCheck.nat(6), FastCheck.constant("end" as const)),
      turns: FastCheck.nat(8)
    }),
    1
  ),
  steps
})

/** Histories of so many fibers. */
export const history = (fibers: number): FastCheck.Arbitrary<History> =>
  FastCheck.record({
    connections: FastCheck.integer({ min: 2, max: 3 }),
    fibers: FastCheck.array(FastCheck.array(program, { minLength: 1, maxLength: 3 }), {
      minLength: fibers,
      maxLength: fibers
    })
  })
