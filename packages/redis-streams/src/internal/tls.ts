/** TLS is what the URL says. Options for it without it would be a plain connection of somebody who believes otherwise. */
import type { RedisOptions } from "ioredis"
import type { ConnectionOptions } from "node:tls"

/** The driver's option for a URL. Throws if there are options for TLS and the URL does not ask for it. */
export const of = (url: string, options: ConnectionOptions | undefined): Pick<RedisOptions, "tls"> => {
  if (url.startsWith("rediss:")) {
    return { tls: { ...options } }
  }
  if (options !== undefined) {
    throw new Error("there are options for TLS, so the URL must begin with rediss://")
  }
  return {}
}
