/** Names of keys that live in the same slot of a cluster as a stream. */
export const beside = (stream: string, name: string): string =>
  /\{[^}]+\}/.test(stream) ? `${stream}:${name}` : `{${stream}}:${name}`
