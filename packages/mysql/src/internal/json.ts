/**
 * JSON that holds all of a value, or says that it cannot. redis-streams has the same for what it sends: neither package needs the other.
 *
 * @internal
 */
/**
 * `JSON.stringify` writes `null` for NaN, `{}` for a Map, nothing for a function, and a text for a Date. This throws an error that
 * names the place instead. A property that is `undefined` is left out: only the schema can tell whether it may be missing.
 */
export const stringify = (value: unknown): string => JSON.stringify(value, refuseLoss)

// internal

function refuseLoss(this: object, key: string, value: unknown): unknown {
  // `value` is what toJSON has made of it.
  const original = (this as Record<string, unknown>)[key]
  const why = loss(original, Array.isArray(this) || key === "")
  if (why !== undefined) {
    throw new TypeError(`JSON cannot hold ${why}${key === "" ? "" : `, at ${JSON.stringify(key)}`}`)
  }
  return value
}

const loss = (value: unknown, isElement: boolean): string | undefined => {
  switch (typeof value) {
    case "number":
      return Number.isFinite(value) ? undefined : String(value)
    case "undefined":
      return isElement ? "undefined" : undefined
    case "object": {
      if (value === null) return undefined
      const kind = Object.prototype.toString.call(value).slice(8, -1)
      return kind !== "Object" && kind !== "Array"
        ? `an object of the kind ${kind}`
        : "toJSON" in value && typeof value.toJSON === "function"
        ? "an object that has a form of its own in JSON"
        : undefined
    }
    case "function":
    case "symbol":
    case "bigint":
      return `a ${typeof value}`
    default:
      return undefined
  }
}
