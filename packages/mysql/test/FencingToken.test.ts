import { expect, layer } from "@effect/vitest"
import * as AdvisoryLock from "@safesync/mysql/AdvisoryLock"
import * as FencingToken from "@safesync/mysql/FencingToken"
import * as Transaction from "@safesync/mysql/Transaction"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { accounts, add, balances, inDatabase, kill, tag, untilLockWait } from "./support.js"

const prepared = Effect.zipRight(accounts, FencingToken.migration)

/** Takes the lock, is issued a token, and gives the lock back. */
const next = (namespace?: string) =>
  Effect.scoped(Effect.flatMap(AdvisoryLock.acquire("x", { timeout: 0, namespace }), FencingToken.issue))

const write = (token: FencingToken.FencingToken) =>
  Effect.exit(Transaction.run(Effect.zipRight(add(1, 1), FencingToken.guard(token))))

layer(MysqlServer.layer, { excludeTestServices: true })("FencingToken", (it) => {
  it.effect("keeps a holder who lost the lock from committing", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const stale = yield* next()
      expect(Exit.isSuccess(yield* write(stale))).toBe(true)
      const current = yield* next()
      expect(current.token).toBe(stale.token + 1)
      expect(tag(yield* write(stale))).toBe("FencingTokenStale")
      expect(Exit.isSuccess(yield* write(current))).toBe(true)
      expect(yield* balances).toEqual([2, 0, 0])
    })))

  it.effect("locks of two namespaces are two locks, and have a sequence each", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const one = yield* next("one")
      const two = yield* next("two")
      expect([one.token, two.token]).toEqual([1, 1])
      expect(Exit.isSuccess(yield* write(one))).toBe(true)
      expect(Exit.isSuccess(yield* write(two))).toBe(true)
    })))

  it.effect("a successor waits for the transaction whose guard has passed", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const token = yield* next()
      const guarded = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const holder = yield* Effect.fork(Transaction.run(Effect.gen(function*() {
        yield* FencingToken.guard(token)
        yield* Deferred.succeed(guarded, undefined)
        yield* Deferred.await(go)
        yield* add(1, 1)
      })))
      yield* Deferred.await(guarded)
      const successor = yield* Effect.fork(next())
      yield* untilLockWait
      expect(yield* balances).toEqual([0, 0, 0])
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(holder)
      expect((yield* Fiber.join(successor)).token).toBe(token.token + 1)
      expect(tag(yield* write(token))).toBe("FencingTokenStale")
    })))

  it.effect("a holder whose connection died is not issued a token, and with an old one commits nothing", () =>
    inDatabase(Effect.gen(function*() {
      yield* prepared
      const lost = Effect.gen(function*() {
        const lock = yield* AdvisoryLock.acquire("x", { timeout: 0 })
        const token = yield* FencingToken.issue(lock)
        yield* kill(lock.session.connectionId)
        expect(tag(yield* Effect.exit(lock.lost))).toBe("AdvisoryLockLost")
        expect(tag(yield* Effect.exit(FencingToken.issue(lock)))).toBe("TransactionAborted")
        return yield* Effect.fail(token)
      })
      const token = yield* Effect.flip(Effect.scoped(lost)).pipe(
        Effect.flatMap((error) => "token" in error ? Effect.succeed(error) : Effect.die(error))
      )
      const successor = yield* next()
      expect(successor.token).toBe(token.token + 1)
      expect(tag(yield* write(token))).toBe("FencingTokenStale")
      expect(yield* balances).toEqual([0, 0, 0])
    })))
})
