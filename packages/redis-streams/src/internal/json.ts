/** JSON that holds all of a value, or says that it cannot. */
import * as Schema from "effect/Schema"
import * as AST from "effect/SchemaAST"
import { randomUUID } from "node:crypto"

/**
 * `JSON.stringify` writes `null` for NaN, `{}` for a Map, nothing for a function, and a text for a Date. This throws an error that
 * names the place instead. A property that is `undefined` is left out: only the schema can tell whether it may be missing.
 */
export const stringify = (value: unknown): string => JSON.stringify(value, refuseLoss)

/**
 * `JSON.parse` rounds a whole number that a double cannot hold. Here it is a bigint: exact where any value is taken, and refused where
 * a number is asked for. What JavaScript itself writes for a number stays one.
 */
export const parse = (text: string): unknown =>
  longDigits.test(text)
    ? JSON.parse(marked(text), (_, value) => {
      if (typeof value === "string" && value.startsWith(mark)) return BigInt(value.slice(mark.length))
      return value
    })
    : JSON.parse(text)

/**
 * Whether the JSON of every value that fits the schema is read back as that value. Where it cannot be told, as of numbers that may be
 * NaN and of transformations, the answer is no.
 */
export const isLossless = (ast: AST.AST): boolean => lossless(ast, new Set())

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

const longDigits = /\d{16}/

/** Nobody's text begins so. */
const mark = `${randomUUID()} `

/** With whole numbers that are not exact as marked texts. */
const marked = (text: string): string => {
  let result = ""
  let copied = 0
  let at = 0
  while (at < text.length) {
    const start = at
    if (text[at] === "\"") {
      at++
      while (at < text.length && text[at] !== "\"") at += text[at] === "\\" ? 2 : 1
      at++
    } else if (/[-\d]/.test(text[at]!)) {
      while (at < text.length && /[-+.\deE]/.test(text[at]!)) at++
      const token = text.slice(start, at)
      if (isRounded(token)) {
        result += `${text.slice(copied, start)}"${mark}${token}"`
        copied = at
      }
    } else at++
  }
  return result + text.slice(copied)
}

const isRounded = (token: string): boolean =>
  /^-?[1-9]\d{15,}$/.test(token) && String(Number(token)) !== token &&
  (token.length > 310 || BigInt(Number(token)) !== BigInt(token))

/** Of numbers: these are never NaN nor infinite. */
const finite = new Set<unknown>([Schema.IntSchemaId, Schema.FiniteSchemaId, Schema.JsonNumberSchemaId])

const lossless = (ast: AST.AST, seen: Set<AST.AST>): boolean => {
  const all = (asts: ReadonlyArray<AST.AST>) => asts.every((ast) => lossless(ast, seen))
  switch (ast._tag) {
    case "StringKeyword":
    case "BooleanKeyword":
    case "TemplateLiteral":
    case "NeverKeyword":
      return true
    case "Literal":
      return typeof ast.literal !== "bigint" && (typeof ast.literal !== "number" || Number.isFinite(ast.literal))
    case "Enums":
      return ast.enums.every(([, value]) => typeof value === "string" || Number.isFinite(value))
    case "Refinement":
      return finite.has(ast.annotations[AST.SchemaIdAnnotationId]) || lossless(ast.from, seen)
    case "Union":
      return all(ast.types)
    case "TupleType":
      return all([...ast.elements, ...ast.rest].map(({ type }) => type))
    case "TypeLiteral":
      // One of nothing takes all that is not null.
      return ast.propertySignatures.length + ast.indexSignatures.length > 0 &&
        ast.propertySignatures.every(({ isOptional, name, type }) =>
          typeof name === "string" && lossless(isOptional ? withoutUndefined(type) : type, seen)
        ) && ast.indexSignatures.every(({ parameter, type }) => AST.isStringKeyword(parameter) && lossless(type, seen))
    case "Suspend": {
      const inner = ast.f()
      if (seen.has(inner)) return true
      seen.add(inner)
      return lossless(inner, seen)
    }
    default:
      return false
  }
}

/** A property that may be missing may be undefined, where its type says so: it is missing then. */
const withoutUndefined = (type: AST.AST): AST.AST =>
  AST.isUnion(type) ? AST.Union.make(type.types.filter((member) => !AST.isUndefinedKeyword(member))) : type
