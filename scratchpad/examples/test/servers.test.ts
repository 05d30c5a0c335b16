import { layer } from "@effect/vitest"
import { Servers, test } from "../testkit/servers.js"

layer(Servers, { excludeTestServices: true })("payments", (it) => {
  it.effect("are written, and nothing is left behind", () => test)
})
