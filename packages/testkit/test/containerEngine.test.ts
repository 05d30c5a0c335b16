import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

import * as ContainerEngine from "../src/internal/containerEngine.js"
import { launch } from "../src/internal/engine.js"
import * as ServerFolder from "../src/internal/serverFolder.js"
import { dockerStandIn } from "./path.js"
import { connects } from "./processes.js"

// What Docker itself does with these commands is not tested here: only that the engine gives the right ones, in the right order.
const containers = (state: string) => readdirSync(state).filter((name) => name.startsWith("safesync-"))

it.live("a container can be killed, started, paused and stopped, gets another port when one is taken, and goes with its scope", () =>
  Effect.gen(function*() {
    const state = yield* dockerStandIn
    yield* Effect.scoped(Effect.gen(function*() {
      yield* ContainerEngine.available("redis:8")
      assert.deepStrictEqual(readdirSync(state), ["pulled-image"])
      writeFileSync(join(state, "port-taken"), "")
      const folder = yield* ServerFolder.make("test")
      const options = { image: "redis:8", port: 6379, env: ["A=b"], args: ["redis-server", "--save", ""] }
      const { control, port } = yield* launch("Redis", ContainerEngine.make(folder, options), connects)
      assert.strictEqual(containers(state).length, 1)
      assert.strictEqual(
        readFileSync(join(state, containers(state)[0]!, "command"), "utf8"),
        "redis:8 redis-server --save \n"
      )
      yield* connects(port)

      yield* control.kill
      assert.isTrue(Exit.isFailure(yield* Effect.exit(connects(port))))
      yield* control.start
      yield* connects(port)
      yield* control.pause
      yield* control.stop
      assert.isTrue(Exit.isFailure(yield* Effect.exit(connects(port))))
      yield* control.start
      yield* connects(port)
      assert.strictEqual((yield* control.pid)._tag, "None")
    }))
    assert.deepStrictEqual(containers(state), [])
  }).pipe(Effect.scoped))
