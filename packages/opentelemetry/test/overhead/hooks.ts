/** A build without instrumentation: the modules that measure are replaced when they are loaded. */
const measuring =
  /\/packages\/(?:mysql\/dist\/esm\/internal\/(?:writes|outcome|lockTimes|tracing)|redis-streams\/dist\/esm\/(?:RedisStreamsMetrics|TraceContext)|worker\/dist\/esm\/(?:WorkerMetrics|internal\/observed))\.js$/

const nothing = new URL("./stubs/nothing.js", import.meta.url).href

interface Resolved {
  readonly url: string
}

export const resolve = async (
  specifier: string,
  context: unknown,
  next: (specifier: string, context: unknown) => Promise<Resolved>
): Promise<Resolved> => {
  const resolved = await next(specifier, context)
  return measuring.test(resolved.url) ? { ...resolved, url: nothing } : resolved
}
