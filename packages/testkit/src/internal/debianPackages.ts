import * as Effect from "effect/Effect"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { cacheFolder } from "./cacheFolder.js"
import { type CommandFailed, run } from "./command.js"
import { WayFailed } from "./engine.js"
import * as FileLock from "./fileLock.js"

/** A server's program and what it needs to run, out of Debian's packages. */
export interface DebianServer {
  readonly package: string
  /** By default `sid`: the stable releases of Debian carry MariaDB in place of MySQL, and older servers. */
  readonly suite?: string | undefined
  /** Below the root that the packages are unpacked to. */
  readonly program: string
  /** What to keep beside the libraries; the rest of some dozens of packages is never used. */
  readonly keep: ReadonlyArray<string>
}

/**
 * Fetches the packages with the machine's own apt (its mirror, proxy, credentials and keys), which needs no root since
 * nothing is installed: they are unpacked to the cache and run through the loader that comes with them, so that the libraries
 * of this system do not matter. Gives the words that start the program, and the root. Takes no network the second time.
 */
export const install = (
  server: DebianServer
): Effect.Effect<{ readonly command: ReadonlyArray<string>; readonly usr: string }, WayFailed> =>
  Effect.gen(function*() {
    const root = join(yield* cacheFolder, "debian", `${nameOf(server)}-${process.arch}`)
    if (!existsSync(root)) yield* Effect.scoped(fetch(server, root))
    return { command: yield* commandIn(root, server.program), usr: join(root, "usr") }
  })

const unstable = "sid"

const nameOf = ({ package: name, suite = unstable }: DebianServer): string =>
  suite === unstable ? name : `${name}@${suite}`

/** The words that start a program of the root through the root's own loader. */
const commandIn = (root: string, program: string): Effect.Effect<ReadonlyArray<string>, WayFailed> =>
  Effect.suspend(() => {
    const list = (folder: string) => existsSync(join(root, folder)) ? readdirSync(join(root, folder)) : []
    const triplets = ["usr/lib", "lib"].flatMap((folder) => list(folder).map((name) => join(folder, name)))
    const home = triplets.find((folder) => existsSync(join(root, folder, "libc.so.6")))
    // Older releases have some libraries in /lib and some in /usr/lib.
    const libraries = home === undefined ? [] : triplets.filter((folder) => basename(folder) === basename(home))
    const loader = [...libraries, "usr/lib64", "lib64", "usr/lib", "lib"]
      .flatMap((folder) => list(folder).map((name) => join(folder, name)))
      .find((file) => /\/ld-linux[^/]*\.so\.\d+$/.test(file) && existsSync(join(root, file)))
    if (loader === undefined || libraries.length === 0 || !existsSync(join(root, program))) {
      return new WayFailed({ reason: `the packages in ${root} are not complete.`, hint: "Remove that folder." })
    }
    return Effect.succeed([
      join(root, loader),
      "--library-path",
      libraries.map((folder) => join(root, folder)).join(":"),
      join(root, program)
    ])
  })

/** What the system calls itself; Debian's derivatives have names of their own, and other packages. */
const system = (): string => {
  try {
    return /^ID="?([^"\n]+)/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "unknown"
  } catch {
    return "unknown"
  }
}

const fetch = (server: DebianServer, root: string) =>
  Effect.gen(function*() {
    const id = system()
    if (id !== "debian") {
      return yield* new WayFailed({
        reason: `this system is not Debian itself (its ID is ${id}).`,
        hint: "Install the server with this system's own packages: its program is then found, and need not be running."
      })
    }
    yield* FileLock.acquire(`${root}.lock`)
    if (existsSync(root)) return
    yield* Effect.logInfo(`Fetching the Debian package ${nameOf(server)} with all it needs, once`)
    const parts = dirname(root)
    yield* disk(async () => {
      // left behind by somebody who was killed; nobody else works on this package while we hold the lock
      for (const name of await readdir(parts)) {
        if (name.startsWith(`part-${nameOf(server)}-`)) await rm(join(parts, name), { recursive: true, force: true })
      }
    })
    const part = yield* Effect.acquireRelease(
      disk(() => mkdtemp(join(parts, `part-${nameOf(server)}-`))),
      (folder) => Effect.promise(() => rm(folder, { recursive: true, force: true }))
    )
    const unpacked = join(part, "root")
    const debs = yield* download(part, server)
    yield* Effect.forEach(debs, (deb) => run("dpkg-deb", ["-x", deb, unpacked], "5 minutes"), { concurrency: 2 }).pipe(
      Effect.mapError((error) => problem("unpacking the packages", error))
    )
    yield* disk(() => prune(unpacked, [server.program, ...server.keep]))
    const [program, ...args] = yield* commandIn(unpacked, server.program)
    yield* Effect.mapError(run(program!, [...args, "--version"], "20 seconds"), (error) => problem("running it", error))
    yield* disk(() => rename(unpacked, root))
  })

const disk = <A>(work: () => Promise<A>): Effect.Effect<A, WayFailed> =>
  Effect.tryPromise({
    try: work,
    catch: (cause) =>
      new WayFailed({
        reason: `the cache folder cannot be written (${String(cause)}).`,
        hint: "Set SAFESYNC_CACHE_DIR to a folder of yours."
      })
  })

const problem = (doing: string, error: CommandFailed): WayFailed =>
  new WayFailed({
    reason: error.reason === "not-found" ? `there is no ${error.command}.` : `${doing} failed (${firstError(error)}).`,
    hint: error.reason === "not-found" ? "" : "Look at apt's sources and proxy, and at the network."
  })

const firstError = ({ output }: CommandFailed): string => {
  const lines = output.split("\n")
  return lines.find((line) => line.startsWith("E:")) ?? lines.at(-1)!
}

/**
 * Removes what the program does not read. That saves half of the space, and set-uid programs, which some of the packages
 * hold, have no business in a cache.
 */
const prune = async (root: string, keep: ReadonlyArray<string>): Promise<void> => {
  const kept = ["usr/lib", "usr/lib64", "lib", "lib64", ...keep]
  const visit = async (folder: string): Promise<void> => {
    for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
      const path = join(folder, entry.name)
      if (kept.includes(path)) continue
      if (entry.isDirectory() && kept.some((other) => other.startsWith(`${path}/`))) await visit(path)
      else await rm(join(root, path), { recursive: true, force: true })
    }
  }
  await visit("")
  for (const triplet of await readdir(join(root, "usr/lib"))) {
    for (const unused of ["perl", "perl-base", "gconv"]) {
      await rm(join(root, "usr/lib", triplet, unused), { recursive: true, force: true })
    }
  }
}

/** The suites that a package of this one may need. */
const suitesOf = (suite: string): ReadonlyArray<string> =>
  suite === "experimental" ? [unstable, suite] : [...new Set([suite.replace(/-backports.*/, ""), suite])]

const download = (part: string, { package: name, suite = unstable }: DebianServer) =>
  Effect.gen(function*() {
    const conf = join(part, "apt.conf")
    const folders = ["lists/partial", "cache/archives/partial"]
    yield* disk(async () => {
      for (const folder of folders) await mkdir(join(part, folder), { recursive: true })
      await writeFile(join(part, "status"), "")
      await writeFile(conf, aptConfiguration(part))
    })
    const printed = yield* Effect.mapError(
      run("apt-get", ["-o", `Dir::State::lists=${join(part, "lists")}`, "update", "--print-uris"], "1 minute"),
      (error) => problem("asking apt for its mirror", error)
    )
    const mirrors = [...printed.matchAll(/^'(\S+)\/dists\/([^/\s]+)\/InRelease'/gm)]
      .filter(([, , release]) => !release!.includes("-"))
      .map(([, uri]) => uri!)
      // a mirror of Debian comes first, sources of other people's packages last
      .sort((a, b) => Number(/\/debian$/.test(b)) - Number(/\/debian$/.test(a)))
    if (mirrors.length === 0) {
      return yield* new WayFailed({ reason: "apt has no mirror of Debian.", hint: "Look at apt's sources." })
    }
    const from = (mirror: string) =>
      Effect.gen(function*() {
        const lines = suitesOf(suite).map((suite) => `deb ${signedBy()}${mirror} ${suite} main\n`)
        yield* disk(() => writeFile(join(part, "sources.list"), lines.join("")))
        yield* apt("update", "--error-on=any")
        yield* apt("install", "--yes", "--download-only", `${name}/${suite}`)
      })
    const apt = (...args: ReadonlyArray<string>) =>
      Effect.mapError(run("apt-get", ["-c", conf, "-qq", ...args], "10 minutes"), (error) => problem("apt-get", error))
    yield* Effect.firstSuccessOf([...new Set(mirrors)].map(from))
    const archives = join(part, "cache/archives")
    const files = yield* disk(() => readdir(archives))
    return files.filter((file) => file.endsWith(".deb")).map((file) => join(archives, file))
  })

/** Debian's own keys when they lie where newer releases keep them; otherwise those that apt trusts anyway. */
const signedBy = (): string => {
  const keyring = ["pgp", "gpg"].map((end) => `/usr/share/keyrings/debian-archive-keyring.${end}`).find(existsSync)
  return keyring === undefined ? "" : `[signed-by=${keyring}] `
}

/** Read after the machine's own configuration, of which proxy, credentials and timeouts stay. */
const aptConfiguration = (part: string): string => `
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear APT::Default-Release;
Dir::State "${part}";
Dir::State::lists "${part}/lists";
Dir::State::status "${part}/status";
Dir::State::extended_states "${part}/extended_states";
Dir::Cache "${part}/cache";
Dir::Cache::archives "${part}/cache/archives";
Dir::Log "${part}";
Dir::Etc::sourcelist "${part}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
`
