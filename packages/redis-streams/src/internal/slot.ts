/**
 * Names of keys that live in the same slot of a cluster as a stream. What is hashed of a key is what stands between its first `{`
 * and the first `}` after that, unless that is nothing: then all of it.
 *
 * There is no such name for a stream that is hashed as a whole and holds a `}`, as `a}b` and `a{}b`: in a cluster the server refuses
 * what touches both (CROSSSLOT), anywhere else any name will do.
 */
export const beside = (stream: string, name: string): string =>
  hasTag(stream) ? `${stream}:${name}` : `{${stream}}:${name}`

/** Whether there is such a name. */
export const hasPlaceBeside = (stream: string): boolean => hasTag(stream) || !stream.includes("}")

// internal

const hasTag = (stream: string): boolean => /^[^{]*\{[^}]/.test(stream) && stream.indexOf("}", stream.indexOf("{")) > 0
