/**
 * Where a server came from.
 *
 * @since 0.1.0
 */

/**
 * It was given by URL, or it is a server of our own: a program of this machine, a container, or a program out of Debian's
 * packages.
 *
 * @since 0.1.0
 * @category models
 */
export type ServerOrigin = "url" | "path" | "docker" | "debian"

/**
 * In words.
 *
 * @since 0.1.0
 * @category output
 */
export const describe = (origin: ServerOrigin): string => words[origin]

// internal

const words: Record<ServerOrigin, string> = {
  url: "given by URL",
  path: "started from PATH",
  docker: "started with Docker",
  debian: "started from Debian packages"
}
