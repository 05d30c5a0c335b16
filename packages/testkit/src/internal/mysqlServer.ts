import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { createHash } from "node:crypto"
import { cp, mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from "node:fs/promises"
import { join } from "node:path"
import type { Binary } from "./binary.js"
import { cacheFolder } from "./cacheFolder.js"
import { endOf, launch, type Ready, WayFailed } from "./engine.js"
import * as MysqlConnection from "./mysqlConnection.js"
import * as ProcessEngine from "./processEngine.js"
import * as ServerFolder from "./serverFolder.js"
import { explain } from "./serverUrl.js"

/** What a server says about itself. */
export interface MysqlIdentity {
  readonly version: string
  readonly datadir: string
}

/** Refuses what the library does not support. */
export const supported = (version: string): Effect.Effect<string, WayFailed> => {
  const hint = "MySQL 8.0 or later is needed."
  if (/mariadb/i.test(version)) return new WayFailed({ reason: `it is MariaDB (${version}), not MySQL.`, hint })
  const major = Number(/(\d+)\.\d+/.exec(version)?.[1])
  return major >= 8 ? Effect.succeed(version) : new WayFailed({ reason: `MySQL ${version} is too old.`, hint })
}

/** Logs in, asks who it is, and says in the user's terms what is wrong. */
export const identify = (
  url: Redacted.Redacted<string>,
  where: string
): Effect.Effect<MysqlIdentity, WayFailed> =>
  Effect.gen(function*() {
    const connection = yield* MysqlConnection.connect(url)
    const [row] = yield* MysqlConnection.query(connection, "SELECT VERSION() AS version, @@datadir AS datadir")
    return { version: String(row!["version"]), datadir: String(row!["datadir"]) }
  }).pipe(
    Effect.scoped,
    Effect.catchAll(({ code, message }) => {
      const user = decodeURIComponent(new URL(Redacted.value(url)).username) || "(none)"
      if (code === "ER_ACCESS_DENIED_ERROR" || code === "ER_ACCESS_DENIED_NO_PASSWORD_ERROR") {
        return new WayFailed({
          reason: `${where} refused the login of user ${user}.`,
          hint: "Correct user and password in the URL."
        })
      }
      return explain(code, where) ?? new WayFailed(
        code === "ETIMEDOUT" || code === "HANDSHAKE_NO_SSL_SUPPORT" || code?.startsWith("ER_") !== true ?
          {
            reason: `${where} does not answer as a MySQL server would (${message}).`,
            hint: "Look at what listens there, and at the parameters of the URL."
          } :
          { reason: `${where} answered: ${message}.`, hint: "" }
      )
    })
  )

/** How a server with this program is told where its files are. */
const filesOf = ({ usr }: Binary): ReadonlyArray<string> =>
  usr === undefined ? [] : [
    `--basedir=${usr}`,
    `--lc-messages-dir=${join(usr, "share/mysql")}`,
    `--character-sets-dir=${join(usr, "share/mysql/charsets")}`,
    `--plugin-dir=${join(usr, "lib/mysql/plugin")}`
  ]

const asRoot = process.getuid?.() === 0 ? ["--user=root"] : []

/** Arguments that a data folder is made with and bound to. */
const shapesData = /^--(lower[-_]case[-_]table[-_]names|innodb[-_](page[-_]size|data[-_]file[-_]path|undo))/

/**
 * A freshly initialized data folder in `folder/data`. Making one takes seconds, copying one a fraction: the first one of
 * each program and shape is kept.
 */
const initialize = (folder: string, binary: Binary, args: ReadonlyArray<string>): Effect.Effect<void, WayFailed> =>
  Effect.gen(function*() {
    const shape = args.filter((arg) => shapesData.test(arg))
    const data = join(folder, "data")
    const key = createHash("sha256").update(JSON.stringify([binary, shape])).digest("hex").slice(0, 12)
    const templates = join(yield* cacheFolder, "mysql-data")
    const template = join(templates, `${/\d+\.\d+\.\d+/.exec(binary.version)?.[0] ?? "unknown"}-${key}`)

    const copied = yield* Effect.isSuccess(Effect.tryPromise(() => cp(template, data, { recursive: true })))
    if (copied) return
    yield* ServerFolder.writing(() => rm(data, { recursive: true, force: true }))

    const init = join(folder, "init.sql")
    // the server does not look up names, so that "localhost" would never be the host of a client
    yield* ServerFolder.writing(() => writeFile(init, "RENAME USER 'root'@'localhost' TO 'root'@'%';\n"))
    const engine = ProcessEngine.make(folder, () => [
      ...binary.command,
      "--no-defaults",
      "--initialize-insecure",
      ...asRoot,
      `--datadir=${data}`,
      `--init-file=${init}`,
      "--log-error-verbosity=2",
      "--secure-file-priv=NULL",
      ...filesOf(binary),
      ...shape
    ])
    yield* engine.spawn(0)
    yield* Effect.timeoutFail(engine.ended, {
      duration: "2 minutes",
      onTimeout: () => new WayFailed({ reason: "initializing its data folder took over two minutes.", hint: "" })
    })
    const made = yield* Effect.promise(() => stat(join(data, "mysql.ibd")).then(() => true, () => false))
    const log = yield* engine.log
    if (!made || /\[ERROR\]/.test(log)) {
      return yield* new WayFailed({
        reason: "its data folder could not be initialized.",
        hint: endOf(log)
      })
    }
    // every copy is a server of its own
    yield* ServerFolder.writing(() => rm(join(data, "auto.cnf"), { force: true }))
    yield* Effect.catchAll(
      Effect.tryPromise(() => keep(data, templates, template)),
      (cause) => Effect.logDebug("The fresh data folder of MySQL could not be kept for the next start", cause)
    )
  })

const keep = async (data: string, templates: string, template: string): Promise<void> => {
  await mkdir(templates, { recursive: true })
  for (const name of await readdir(templates)) {
    // left behind by somebody who was killed while copying
    const old = join(templates, name)
    if (name.startsWith("part-") && Date.now() - (await stat(old)).mtimeMs > 3_600_000) {
      await rm(old, { recursive: true })
    }
  }
  const part = await mkdtemp(join(templates, "part-"))
  try {
    await cp(data, join(part, "data"), { recursive: true })
    // whoever comes first wins; the others' copies are the same
    await rename(join(part, "data"), template).catch(() => {})
  } finally {
    await rm(part, { recursive: true, force: true })
  }
}

/** A server of our own with this program: its durable defaults, on loopback, with a data folder that goes with the scope. */
export const start = (binary: Binary, args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const folder = yield* ServerFolder.make("mysql")
    const data = join(folder, "data")
    yield* initialize(folder, binary, args)
    yield* ServerFolder.writing(() => mkdir(join(folder, "tmp")))
    const engine = ProcessEngine.make(folder, (port) => [
      ...binary.command,
      "--no-defaults",
      ...asRoot,
      `--datadir=${data}`,
      `--tmpdir=${join(folder, "tmp")}`,
      "--bind-address=127.0.0.1",
      `--port=${port}`,
      // relative to the data folder, in which the server runs: such a path is never too long for a socket's address
      "--socket=mysql.sock",
      "--pid-file=mysqld.pid",
      "--mysqlx=OFF",
      "--secure-file-priv=NULL",
      "--skip-name-resolve",
      "--max-connections=500",
      ...filesOf(binary),
      ...args
    ])
    const ready: Ready = (port) =>
      Effect.filterOrFail(
        identify(urlOf(port), `127.0.0.1:${port}`),
        ({ datadir }) => datadir.replace(/\/$/, "") === data,
        () => ({ reason: "another server answers at its port" })
      )
    return yield* launch("MySQL", engine, ready)
  })

/** The URL of a server that was started by us. */
export const urlOf = (port: number): Redacted.Redacted<string> => Redacted.make(`mysql://root@127.0.0.1:${port}`)
