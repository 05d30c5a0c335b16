import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Barrier from "./barrier.js"
import { type ChildProcess, ProcessFailed, start } from "./childProcess.js"
import type * as Messages from "./messages.js"

export interface Task {
  readonly suite: Messages.Suite
  readonly strategy: Messages.Strategy
  readonly url: string
  readonly operations: number
  readonly seed: number
}

export interface Performance<A> {
  readonly done: ReadonlyArray<Messages.Done>
  readonly seen: A
}

/** A number of processes that do one task at a time, together. */
export interface Crew {
  /** `look` is run when all are done and still connected. */
  readonly run: <A, E, R>(
    task: Task,
    within: Duration.DurationInput,
    look: Effect.Effect<A, E, R>
  ) => Effect.Effect<Performance<A>, E | ProcessFailed, R>
}

export const make = (size: number): Effect.Effect<Crew, ProcessFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const outer = yield* Effect.scope
    const turn = yield* Effect.makeSemaphore(1)
    const names = Array.from({ length: size }, (_, i) => `Process ${i + 1} of ${size}`)
    let hired: { readonly scope: Scope.CloseableScope; readonly processes: ReadonlyArray<ChildProcess> } | undefined

    /** Who was interrupted in the middle of a task is of no use any more. */
    const dismiss = Effect.suspend(() => {
      if (hired === undefined) return Effect.void
      const { scope } = hired
      hired = undefined
      return Scope.close(scope, Exit.void)
    })

    const hire = Effect.gen(function*() {
      if (hired !== undefined) return hired.processes
      const scope = yield* Scope.fork(outer, ExecutionStrategy.sequential)
      const processes = yield* Effect.forEach(names, (name) => Scope.extend(start(name), scope))
      hired = { scope, processes }
      yield* together(processes, (_) => expect(_, "Started"))
      return processes
    })

    yield* Effect.onError(hire, () => dismiss)
    return {
      run: (task, within, look) =>
        turn.withPermits(1)(
          Effect.onError(
            Effect.flatMap(hire, (processes) =>
              perform(processes, task, look).pipe(
                Effect.timeoutFail({
                  duration: within,
                  onTimeout: () =>
                    new ProcessFailed({ message: `The processes did not finish within ${Duration.format(within)}` })
                })
              )),
            () => dismiss
          )
        ).pipe(Effect.flatten)
    }
  })

/** The outer effect fails where the processes cannot be used again, the inner one where they can. */
const perform = <A, E, R>(
  processes: ReadonlyArray<ChildProcess>,
  task: Task,
  look: Effect.Effect<A, E, R>
): Effect.Effect<Effect.Effect<Performance<A>, ProcessFailed>, E | ProcessFailed, R> =>
  Effect.gen(function*() {
    const answers = yield* together(processes, (_, index) =>
      Effect.zipRight(
        _.send({ _tag: "Prepare", ...task, seed: task.seed * 1_000 + index }),
        expect(_, "Ready", "Refused")
      ))
    const refusal = answers.find((_) => _._tag === "Refused")
    if (refusal !== undefined) {
      yield* together(processes.filter((_, index) => answers[index]!._tag === "Ready"), release)
      return new ProcessFailed({ message: refusal.reason })
    }
    const barrier = Barrier.make(processes.length)
    const done = yield* together(processes, (_) => attend(_, barrier))
    const seen = yield* look
    yield* together(processes, release)
    return Effect.succeed({ done, seen })
  })

/** Starts one process and opens the barrier for it, until it is done. */
const attend = (
  process: ChildProcess,
  barrier: Barrier.Barrier
): Effect.Effect<Messages.Done, ProcessFailed> =>
  Effect.zipRight(
    process.send({ _tag: "Go" }),
    Effect.flatMap(expect(process, "Arrived", "Done"), (message) =>
      message._tag === "Arrived"
        ? Effect.zipRight(barrier.arrive, attend(process, barrier))
        : Effect.as(barrier.leave, message))
  )

const release = (process: ChildProcess) => Effect.zipRight(process.send({ _tag: "Release" }), expect(process, "Free"))

const expect = <Tag extends Messages.FromProcess["_tag"]>(
  process: ChildProcess,
  ...tags: ReadonlyArray<Tag>
): Effect.Effect<Extract<Messages.FromProcess, { readonly _tag: Tag }>, ProcessFailed> =>
  Effect.flatMap(process.receive, (message) =>
    tags.includes(message._tag as Tag)
      ? Effect.succeed(message as Extract<Messages.FromProcess, { readonly _tag: Tag }>)
      : new ProcessFailed({ message: `${process.name} said ${message._tag} out of turn` }))

const together = <A, E, R>(
  processes: ReadonlyArray<ChildProcess>,
  f: (process: ChildProcess, index: number) => Effect.Effect<A, E, R>
): Effect.Effect<ReadonlyArray<A>, E, R> => Effect.forEach(processes, f, { concurrency: "unbounded" })
