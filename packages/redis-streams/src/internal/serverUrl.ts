/**
 * The parts of a URL, told before the driver sees it: the driver takes a database that is no number and ends the process over it later,
 * outside of every Effect. Nothing of a URL is repeated: it may hold a password, and where it is malformed nothing tells which part that is.
 */
import * as Redacted from "effect/Redacted"
import type { RedisOptions } from "ioredis"
import type { ConnectionOptions } from "node:tls"

export interface ServerUrl {
  readonly host: string
  readonly port: number | undefined
  /** The options of the driver for all that it says. */
  readonly options: RedisOptions
}

/** Throws for a URL that cannot be used. `tls`: the caller's options for it. */
export const parse = (redacted: Redacted.Redacted<string>, tls: ConnectionOptions | undefined): ServerUrl => {
  const text = Redacted.value(redacted)
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^rediss?:$/.test(url.protocol) || url.hostname === "") {
    throw new Error(`the URL must look like redis://host:port or rediss://host:port; ${hint}`)
  }
  if (url.hash !== "" || [...url.searchParams.keys()].some((name) => name !== "family" && name !== "db")) {
    throw new Error(`the URL may say ?family= and ?db= after its host, and nothing else; ${hint}`)
  }
  const path = /^\/?$/.test(url.pathname) ? undefined : url.pathname.slice(1)
  const db = whole("database", path ?? url.searchParams.get("db") ?? undefined)
  const family = whole("family", url.searchParams.get("family") ?? undefined)
  if (family !== undefined && ![0, 4, 6].includes(family)) throw new Error("the URL's family must be 0, 4 or 6")
  const host = url.hostname.replace(/^\[|\]$/g, "")
  const port = url.port === "" ? undefined : Number(url.port)
  return {
    host,
    port,
    options: {
      host,
      ...(port === undefined ? {} : { port }),
      ...(url.username === "" ? {} : { username: decoded(url.username) }),
      ...(url.password === "" ? {} : { password: decoded(url.password) }),
      ...(db === undefined ? {} : { db }),
      ...(family === undefined ? {} : { family }),
      ...tlsOf(url, tls)
    }
  }
}

// internal

const hint = "a user or password that holds /, ?, # or % must be percent-encoded"

const whole = (what: string, text: string | undefined): number | undefined => {
  if (text === undefined) return undefined
  if (!/^\d{1,9}$/.test(text)) throw new Error(`the URL's ${what} must be a whole number; ${hint}`)
  return Number(text)
}

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new Error(`the URL is not percent-encoded as it should be; ${hint}`)
  }
}

/** TLS is what the URL says. Options for it without it would be a plain connection where the caller believes otherwise. */
const tlsOf = ({ protocol }: URL, options: ConnectionOptions | undefined): Pick<RedisOptions, "tls"> => {
  if (protocol === "rediss:") return { tls: { ...options } }
  if (options !== undefined) throw new Error("there are options for TLS, so the URL must begin with rediss://")
  return {}
}
