import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { WayFailed } from "./engine.js"

/** The URL that the configuration gives; an empty one counts as not given. */
export const given = (variable: string): Effect.Effect<Option.Option<Redacted.Redacted<string>>> =>
  Effect.map(
    Effect.orDie(Config.option(Config.redacted(variable))),
    Option.filter((url) => Redacted.value(url).trim() !== "")
  )

/** Reads a URL. What it says in a failure holds no part of the text, which may hold a password. */
export const parse = (
  text: Redacted.Redacted<string>,
  protocols: ReadonlyArray<string>,
  example: string
): Effect.Effect<URL, WayFailed> => {
  const malformed = (reason: string) => new WayFailed({ reason, hint: `It looks like ${example}.` })
  return Effect.try({ try: () => new URL(Redacted.value(text).trim()), catch: () => malformed("this is not a URL.") })
    .pipe(
      Effect.filterOrFail(
        (url) => protocols.includes(url.protocol) && url.hostname !== "",
        () => malformed(`this is not a URL that begins with ${protocols.map((p) => `${p}//`).join(" or ")} and a host.`)
      ),
      Effect.filterOrFail(
        ({ password, pathname, username }) => [username, password, pathname].every(isDecodable),
        () =>
          new WayFailed({
            reason: "a % in user, password or path is not followed by two hexadecimal digits.",
            hint: "Write %25 for a percent sign."
          })
      )
    )
}

const isDecodable = (text: string): boolean => {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}

/** The host as the system wants it: an IPv6 address without the brackets of a URL. */
export const host = ({ hostname }: URL): string => hostname.replace(/^\[|\]$/g, "")

/** The address for messages: no user, no password, no parameters. */
export const address = (url: URL, defaultPort: number): string => `${url.hostname}:${url.port || defaultPort}`

/** The same server without a database in the path. */
export const withoutDatabase = (url: URL): Redacted.Redacted<string> => {
  const bare = new URL(url.href)
  bare.pathname = ""
  return Redacted.make(bare.href)
}

/** What the operating system's answer to connecting means to the user; undefined for an answer of the server itself. */
export const explain = (code: string | undefined, where: string): WayFailed | undefined => {
  switch (code) {
    case "ECONNREFUSED":
      return new WayFailed({
        reason: `nothing listens at ${where}.`,
        hint: "Start the server, or correct host and port."
      })
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return new WayFailed({ reason: `the host of ${where} is not known.`, hint: "Correct the host." })
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return new WayFailed({ reason: `${where} cannot be reached.`, hint: "Look at the network, or correct the host." })
    default:
      return undefined
  }
}
