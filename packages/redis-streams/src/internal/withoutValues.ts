/** Why a value does not fit its schema, without what was there instead: neither values nor the keys of records. */
import type * as ParseResult from "effect/ParseResult"
import type * as AST from "effect/SchemaAST"

export const withoutValues = (error: ParseResult.ParseError): string =>
  Array.from(found(error.issue, []), ({ path, tag }) => `${tag} at ${path.length === 0 ? "its root" : path.join(".")}`)
    .join(", ")

// internal

interface Found {
  readonly tag: string
  readonly path: ReadonlyArray<string>
}

function* found(issue: ParseResult.ParseIssue, path: ReadonlyArray<string>): Generator<Found> {
  switch (issue._tag) {
    case "Composite": {
      const issues: ReadonlyArray<ParseResult.ParseIssue> = "_tag" in issue.issues ? [issue.issues] : issue.issues
      for (const inner of issues) {
        if (inner._tag === "Pointer") {
          const keys = Array.isArray(inner.path) ? inner.path : [inner.path]
          yield* found(inner.issue, [...path, ...keys.map((key) => nameOf(key, issue.ast))])
        } else {
          yield* found(inner, path)
        }
      }
      return
    }
    case "Pointer":
      return yield* found(issue.issue, [...path, "*"])
    case "Refinement":
    case "Transformation":
      return yield* found(issue.issue, path)
    default:
      yield { tag: issue._tag, path }
  }
}

/** Only what the schema itself says. */
const nameOf = (key: PropertyKey, ast: AST.AST): string =>
  typeof key === "number" || (ast._tag === "TypeLiteral" && ast.propertySignatures.some(({ name }) => name === key))
    ? String(key)
    : "*"
