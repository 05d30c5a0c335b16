import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import type { Binary } from "./binary.js"
import type { Certificate } from "./certificate.js"
import { launch, type Ready, WayFailed } from "./engine.js"
import * as ProcessEngine from "./processEngine.js"
import * as RedisConnection from "./redisConnection.js"
import * as ServerFolder from "./serverFolder.js"
import { explain } from "./serverUrl.js"

/** What a server says about itself. */
export interface RedisIdentity {
  readonly version: string
  readonly pid: number
}

/** Refuses what the library does not support. */
export const supported = (version: string): Effect.Effect<string, WayFailed> =>
  Number(/(\d+)\.\d+/.exec(version)?.[1]) >= 5 ?
    Effect.succeed(version) :
    new WayFailed({ reason: `Redis ${version} is too old.`, hint: "Redis 5.0 or later is needed." })

/** Logs in, asks who it is, and says in the user's terms what is wrong. */
export const identify = (
  url: Redacted.Redacted<string>,
  where: string,
  ca?: string | undefined
): Effect.Effect<RedisIdentity, WayFailed> =>
  Effect.gen(function*() {
    const redis = yield* RedisConnection.connect(url, ca)
    const info = String(yield* RedisConnection.call(redis, "INFO", "server"))
    const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1] ?? ""
    // Valkey also says which version of Redis it stands in for.
    const valkey = field("valkey_version")
    return { version: valkey === "" ? field("redis_version") : `valkey ${valkey}`, pid: Number(field("process_id")) }
  }).pipe(
    Effect.scoped,
    Effect.catchAll(({ code, message }) => {
      if (/^(WRONGPASS|NOAUTH|ERR .*AUTH|ERR invalid password)/.test(message)) {
        return new WayFailed({
          reason: `${where} refused the login.`,
          hint: "Correct user and password in the URL: redis://user:password@host:port."
        })
      }
      if (message.startsWith("NOPERM")) {
        return new WayFailed({
          reason: `${where} does not let this user run INFO.`,
          hint: "Use a user with more rights."
        })
      }
      return explain(code, where) ?? new WayFailed({
        reason: `${where} does not answer as a Redis server would (${message}).`,
        hint: "Look at what listens there, and whether it wants TLS (rediss://)."
      })
    })
  )

/** How a server of our own is run, and how it is spoken to. */
export interface Setup {
  readonly args: ReadonlyArray<string>
  /** With it the server speaks TLS and nothing else. */
  readonly certificate: Certificate | undefined
}

/** The URL of a server that was started by us, with the password that its arguments ask for. */
export const urlOf = ({ args, certificate }: Setup, port: number): Redacted.Redacted<string> => {
  const at = args.lastIndexOf("--requirepass")
  const password = at < 0 ? undefined : args[at + 1]
  const login = password === undefined || password === "" ? "" : `:${encodeURIComponent(password)}@`
  return Redacted.make(`${certificate === undefined ? "redis" : "rediss"}://${login}127.0.0.1:${port}`)
}

/** Asks a server of our own who it is. */
export const identifyOwn = (setup: Setup, port: number): Effect.Effect<RedisIdentity, WayFailed> =>
  identify(urlOf(setup, port), `127.0.0.1:${port}`, setup.certificate?.pem)

/** A server of our own with this program, on loopback, with a data folder that goes with the scope. */
export const start = (binary: Binary, setup: Setup) =>
  Effect.gen(function*() {
    const folder = yield* ServerFolder.make("redis")
    const data = join(folder, "data")
    yield* ServerFolder.writing(() => mkdirSync(data))
    const engine = ProcessEngine.make(folder, (port) => [
      ...binary.command,
      "--bind",
      "127.0.0.1",
      ...listening(setup, String(port)),
      "--dir",
      data,
      ...setup.args
    ])
    const ready: Ready = (port, pid) =>
      Effect.filterOrFail(
        identifyOwn(setup, port),
        (identity) => Option.contains(pid, identity.pid),
        () => ({ reason: "another server answers at its port" })
      )
    return yield* launch("Redis", engine, ready)
  })

// internal

const listening = ({ certificate }: Setup, port: string): ReadonlyArray<string> =>
  certificate === undefined ? ["--port", port] : [
    ...["--port", "0", "--tls-port", port, "--tls-auth-clients", "no"],
    ...["--tls-cert-file", certificate.certFile, "--tls-key-file", certificate.keyFile],
    ...["--tls-ca-cert-file", certificate.certFile]
  ]
