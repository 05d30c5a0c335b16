/**
 * A worker without instrumentation: the modules that measure are replaced when they are loaded.
 *
 * @since 0.1.0
 */
const measuring =
  /\/packages\/(?:mysql\/(?:dist\/esm|src)\/internal\/(?:writes|outcome|lockTimes|tracing)|redis-streams\/(?:dist\/esm|src)\/(?:RedisStreamsMetrics|TraceContext)|worker\/(?:dist\/esm|src)\/(?:WorkerMetrics|internal\/observed))\.[jt]s$/

const nothing = new URL(import.meta.url.replace("hooks", "nothing")).href

interface Resolved {
  readonly url: string
}

/**
 * https://nodejs.org/api/module.html#resolvespecifier-context-nextresolve
 *
 * @since 0.1.0
 * @category hooks
 */
export const resolve = async (
  specifier: string,
  context: unknown,
  next: (specifier: string, context: unknown) => Promise<Resolved>
): Promise<Resolved> => {
  const resolved = await next(specifier, context)
  return measuring.test(resolved.url) ? { ...resolved, url: nothing } : resolved
}
