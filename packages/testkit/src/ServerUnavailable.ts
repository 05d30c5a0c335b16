/**
 * The one error of finding a server: every way that was tried, why it did not work, and what the user can do.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * One way of getting a server that did not work.
 *
 * @since 0.1.0
 * @category models
 */
export const Attempt = Schema.Struct({
  /** The way, as a user would name it: an environment variable, "mysqld on PATH", "Docker", "Debian packages". */
  way: Schema.String,
  /** Why it did not work, in one sentence. Never holds a password. */
  reason: Schema.String,
  /** What the user can do about it. */
  hint: Schema.String
})

/**
 * One way of getting a server, and why it failed.
 *
 * @since 0.1.0
 * @category models
 */
export type Attempt = typeof Attempt.Type

/**
 * No server could be found or started, or the one that was asked for by URL cannot be used.
 *
 * The message is one line when a single way was tried, as with a URL, and a list otherwise.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServerUnavailable extends Schema.TaggedError<ServerUnavailable>("@safesync/testkit/ServerUnavailable")(
  "ServerUnavailable",
  {
    server: Schema.Literal("MySQL", "Redis", "Prometheus"),
    attempts: Schema.Array(Attempt)
  }
) {
  override get message(): string {
    const lines = this.attempts.map((attempt) => `${attempt.way}: ${attempt.reason} ${attempt.hint}`.trimEnd())
    return lines.length === 1
      ? `${this.server} is not available. ${lines[0]}`
      : [`${this.server} is not available. What was tried:`, ...lines.map((line) => `- ${line}`)].join("\n")
  }
}
