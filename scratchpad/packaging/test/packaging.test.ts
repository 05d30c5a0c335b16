// What a user gets: the packed packages in a fresh project outside of the repository, as ES modules, as CommonJS, and for
// the compiler at its strictest.
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import { expect, it } from "@effect/vitest"
import * as Redis from "@safesync/redis-streams/Redis"
import * as MysqlServer from "@safesync/testkit/MysqlServer"
import * as RedisServer from "@safesync/testkit/RedisServer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as esbuild from "esbuild"
import { execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe } from "vitest"

const repository = fileURLToPath(new URL("../../..", import.meta.url))
const names = ["mysql", "redis-streams", "worker", "opentelemetry", "testkit"]
let project: string

const run = async (cwd: string, command: string, ...args: ReadonlyArray<string>): Promise<string> => {
  try {
    return (await promisify(execFile)(command, args, { cwd, maxBuffer: 2 ** 26 })).stdout
  } catch (error) {
    const { stderr, stdout } = error as { readonly stdout: string; readonly stderr: string }
    throw new Error(`${command} ${args.join(" ")} in ${cwd}\n${stdout}\n${stderr}`)
  }
}

const file = async (path: string, content: string | object) => {
  await mkdir(dirname(join(project, path)), { recursive: true })
  await writeFile(join(project, path), typeof content === "string" ? content : JSON.stringify(content, null, 2))
}

/** Whether the package has to be built: `npm run check` has done so a moment ago. */
const isStale = async (name: string): Promise<boolean> => {
  const folder = join(repository, "packages", name)
  const time = (path: string) => stat(path).then(({ mtimeMs }) => mtimeMs, () => 0)
  const sources = (await readdir(join(folder, "src"), { recursive: true })).map((path) =>
    time(join(folder, "src", path))
  )
  return Math.max(...await Promise.all(sources)) > await time(join(folder, "dist/cjs/package.json"))
}

/** Names of the public modules of a package, as a user may import them. */
const modules = async (name: string) =>
  (await readdir(join(repository, "packages", name, "src")))
    .filter((name) => name.endsWith(".ts") && name !== "index.ts")
    .map((module) => `@safesync/${name}/${module.slice(0, -3)}`)

const versionsIn = async (manifest: string): Promise<Record<string, string>> =>
  JSON.parse(await readFile(join(repository, manifest), "utf8")).devDependencies

const packed: Record<string, ReadonlyArray<string>> = {}

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), "safesync-packaging-"))
  for (const name of names) {
    if (await isStale(name)) await run(repository, "npm", "run", "build", "--workspace", `packages/${name}`)
  }
  const tarballs: ReadonlyArray<{ name: string; filename: string; files: ReadonlyArray<{ path: string }> }> = JSON
    .parse(
      await run(
        repository,
        "npm",
        "pack",
        "--json",
        "--pack-destination",
        project,
        ...names.flatMap((name) => ["--workspace", `packages/${name}`])
      )
    )
  for (const { files, name } of tarballs) packed[name] = files.map(({ path }) => path)
  const ours = await versionsIn("package.json")
  const theirs = ["@effect/platform-node", "@types/node", "tsx", "typescript"] // beside ours, what the README tells to install
  await file("package.json", {
    private: true,
    dependencies: {
      ...Object.fromEntries(tarballs.map(({ filename, name }) => [name, `file:${filename}`])),
      ...Object.fromEntries(theirs.map((name) => [name, ours[name]]))
    }
  })
  await run(project, "npm", "install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")
  for (const type of ["module", "commonjs"]) {
    await file(`${type}/package.json`, { type })
    for (const name of ["payments.ts", "paymentsSetup.ts"]) {
      await cp(join(repository, "scratchpad/examples", name), join(project, type, name))
    }
  }
}, 300_000)

afterAll(() => rm(project, { recursive: true, force: true }))

describe("the packed packages", () => {
  it("have their licence, a guide and both builds in them, and no test", () => {
    expect(Object.keys(packed).sort()).toEqual(names.map((name) => `@safesync/${name}`).sort())
    for (const files of Object.values(packed)) {
      expect(files).toEqual(
        expect.arrayContaining(["LICENSE", "README.md", "package.json", "dist/esm/index.js", "dist/cjs/index.js"])
      )
      expect(files.filter((path) => path.includes("test/"))).toEqual([])
    }
  })

  it("share one copy of effect, and one of each other", async () => {
    for (const name of ["effect", "@effect/sql", "@safesync/mysql", "@safesync/redis-streams"]) {
      const copies = (await run(project, "npm", "ls", name, "--all", "--parseable")).trim().split("\n")
      expect(copies).toEqual([join(project, "node_modules", name)])
    }
  })

  it("compile with strict and exactOptionalPropertyTypes, libraries included", async () => {
    await file("tsconfig.json", {
      include: ["module", "commonjs", "ws.d.ts"],
      compilerOptions: {
        target: "ES2022",
        lib: ["ES2023", "DOM"],
        module: "NodeNext",
        strict: true,
        exactOptionalPropertyTypes: true,
        skipLibCheck: false,
        types: ["node"]
      }
    })
    // Named by the types of @effect/platform-node, and not installed by it.
    await file(
      "ws.d.ts",
      `declare module "ws" {
      export class WebSocket {}
      export type ServerOptions<_Socket = unknown, _Request = unknown> = object
    }`
    )
    await run(project, "npx", "tsc", "--project", ".")
  }, 120_000)

  it("compile with the tsconfig of the README", async () => {
    const readme = await readFile(join(repository, "README.md"), "utf8")
    const config = JSON.parse(/```json\n([^]*?)```/.exec(readme)![1]!)
    await file("readme.json", { ...config, include: ["module/*.ts", "commonjs/*.ts"] })
    await run(project, "npx", "tsc", "--project", "readme.json")
  }, 60_000)

  it("load as ES modules and as CommonJS, every entry point, and nothing else", async () => {
    const entries = (await Promise.all(names.map(async (name) => [`@safesync/${name}`, ...await modules(name)]))).flat()
    const hidden = ["@safesync/mysql/internal/session", "@safesync/testkit/bin/withServers"]
    const list = JSON.stringify(entries)
    await file("module/entries.js", `for (const entry of ${list}) await import(entry)\n`)
    await file("commonjs/entries.js", `for (const entry of ${list}) require(entry)\n`)
    await run(project, "node", "module/entries.js")
    await run(project, "node", "commonjs/entries.js")
    for (const entry of hidden) {
      await expect(run(project, "node", "-e", `require("${entry}")`)).rejects.toThrow("ERR_PACKAGE_PATH_NOT_EXPORTED")
    }
  })

  it.each(["@safesync/mysql", "@safesync/mysql/Transaction"])(
    "import { run } of %s takes no more than it needs",
    async (entry) => {
      const isModule = entry.endsWith("/Transaction")
      const { metafile } = await esbuild.build({
        stdin: {
          contents: isModule
            ? `import { run } from "${entry}"; console.log(run)`
            : `import { Transaction } from "${entry}"; console.log(Transaction.run)`,
          resolveDir: project
        },
        bundle: true,
        write: false,
        metafile: true,
        platform: "node",
        format: "esm"
      })
      const inputs = Object.entries(Object.values(metafile.outputs)[0]!.inputs)
        .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
        .map(([path]) => path)
      expect(inputs.filter((path) => path.endsWith("mysql/dist/esm/Transaction.js"))).toHaveLength(1)
      expect(inputs.filter((path) => /ioredis|redis-streams|Outbox|AdvisoryLock|RowLock|Occ\.js/.test(path))).toEqual(
        []
      )
    }
  )
})

// The streams have fixed names, so Redis is one of our own.
const services = Layer.merge(
  MysqlServer.database(),
  Layer.unwrapEffect(Effect.map(RedisServer.RedisServer, ({ url }) => Redis.layer({ url })))
).pipe(Layer.provideMerge(Layer.merge(MysqlServer.layer, RedisServer.layerOwn())))

it.scopedLive(
  "the README's example runs from the packed packages, as ES modules and as CommonJS",
  () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const mysql = new URL(Redacted.value((yield* MysqlServer.MysqlServer).url))
      mysql.pathname = `/${(yield* MysqlClient.MysqlClient).config.database}`
      const env = {
        ...process.env,
        MYSQL_URL: mysql.href,
        REDIS_URL: Redacted.value((yield* RedisServer.RedisServer).url)
      }
      const start = (type: string, name: string) =>
        Effect.map(
          Effect.acquireRelease(
            Effect.sync(() => spawn("node", [name], { cwd: join(project, type), env, stdio: "inherit" })),
            (service) => Effect.sync(() => service.kill("SIGKILL"))
          ),
          (service) => ({ service, ended: Effect.promise(() => once(service, "exit")) })
        )
      const credited: (pence: number) => Effect.Effect<void, SqlError> = (pence) =>
        Effect.flatMap(
          sql<{ pence: number }>`SELECT pence FROM account WHERE id = 1`,
          ([row]) => row!.pence === pence ? Effect.void : Effect.delay(credited(pence), "10 millis")
        )

      for (const [type, pence] of [["module", 1299], ["commonjs", 2598]] as const) {
        expect(yield* Effect.flatMap(start(type, "paymentsSetup.js"), ({ ended }) => ended)).toEqual([0, null])
        const { ended, service } = yield* start(type, "payments.js")
        const exit = yield* Effect.fork(ended)
        yield* Effect.raceFirst(
          credited(pence),
          Effect.flatMap(Fiber.join(exit), (status) => Effect.dieMessage(`${type}: ended with ${String(status)}`))
        )
        service.kill("SIGTERM")
        expect(yield* Fiber.join(exit)).toEqual([0, null])
      }
    }).pipe(Effect.provide(services)),
  60_000
)

it.scopedLive(
  "the invariants of the packed testkit load a strategy that is written in TypeScript",
  () =>
    Effect.gen(function*() {
      const { url } = yield* MysqlServer.MysqlServer
      yield* Effect.promise(async () => {
        await file(
          "strategies/byHand.ts",
          `import { SqlClient } from "@effect/sql"
import type * as Invariants from "@safesync/testkit/Invariants"
import { Effect } from "effect"

enum Step { one = 1 }
const byHand: Invariants.Increment = ({ id, table }) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => sql\`UPDATE \${sql(table)} SET value = value + \${Step.one} WHERE id = \${id}\`)
export default byHand
`
        )
        await file(
          "module/invariants.js",
          `import { Invariants, MysqlServer } from "@safesync/testkit"
import { Effect, Layer } from "effect"

const verdict = await Effect.runPromise(Effect.provide(
  Invariants.increments({ module: new URL("../strategies/byHand.ts", import.meta.url) }, { operations: 3 }),
  Layer.merge(MysqlServer.layer, Invariants.layer({ processes: 2 }))
))
console.log(JSON.stringify(verdict.problems), verdict.found)
process.exit()
`
        )
      })
      const said = yield* Effect.promise(() =>
        promisify(execFile)("node", ["module/invariants.js"], {
          cwd: project,
          env: { ...process.env, [MysqlServer.urlVariable]: Redacted.value(url) }
        })
      )
      expect(said.stdout.trim()).toBe("[] 6")
    }).pipe(Effect.provide(MysqlServer.layer)),
  60_000
)
