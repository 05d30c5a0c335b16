import effect from "@effect/eslint-plugin"
import { createTypeScriptImportResolver } from "eslint-import-resolver-typescript"
import importX from "eslint-plugin-import-x"
import tseslint from "typescript-eslint"
import { gaps, zones as floorZones } from "./floors.mjs"

// eslint runs in the root folder, where the list's paths begin.
if (gaps().length > 0) throw new Error(`.config/floors.mjs: ${gaps().join("; ")}`)

const onlyImports = (name, allowed) => ({
  target: `./packages/${name}/src`,
  from: ["mysql", "redis-streams", "worker", "opentelemetry", "testkit"]
    .filter((other) => other !== name && !allowed.includes(other))
    .map((other) => `./packages/${other}`),
  message: `@safesync/${name} may import ${allowed.length === 0 ? "no other package of the house" : allowed.join(" and ")}.`
})

export default tseslint.config(
  { ignores: ["**/dist/**", "**/node_modules/**", "**/.cache/**"] },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.recommended, effect.configs.dprint],
    plugins: { "import-x": importX },
    settings: {
      "import-x/resolver-next": [createTypeScriptImportResolver({ project: "tsconfig.json" })]
    },
    rules: {
      "@effect/dprint": ["error", {
        config: {
          indentWidth: 2,
          lineWidth: 120,
          semiColons: "asi",
          quoteStyle: "alwaysDouble",
          trailingCommas: "never",
          operatorPosition: "maintain",
          "arrowFunction.useParentheses": "force"
        }
      }],
      "@effect/no-import-from-barrel-package": ["error", {
        packageNames: [
          "effect",
          "@effect/sql",
          "@effect/sql-mysql2",
          "@effect/platform",
          "@effect/platform-node",
          "@effect/opentelemetry"
        ]
      }],
      "@typescript-eslint/array-type": ["error", { default: "generic", readonly: "generic" }],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-empty-object-type": "off",
      "@typescript-eslint/no-namespace": "off",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/no-explicit-any": "off",
      "import-x/first": "error",
      "import-x/no-duplicates": "error",
      "import-x/no-cycle": "error",
      "import-x/no-restricted-paths": ["error", {
        zones: [
          ...floorZones,
          onlyImports("mysql", []),
          onlyImports("redis-streams", []),
          onlyImports("worker", ["mysql", "redis-streams"]),
          onlyImports("opentelemetry", [])
        ]
      }],
      "no-console": "error",
      "object-shorthand": "error"
    }
  },
  // A timer of Node takes what is longer than 24.8 days for one millisecond, and `Effect.sleep` never ends then.
  {
    files: ["packages/{mysql,redis-streams,worker}/src/**/*.ts"],
    ignores: ["packages/*/src/internal/duration.ts"],
    rules: {
      "no-restricted-globals": ["error", { name: "setTimeout", message: "Use `later` of internal/duration.ts." }]
    }
  },
  { files: ["packages/*/src/index.ts"], rules: { "@effect/dprint": "off" } },
  // Examples show what a reader's own file would look like.
  {
    files: ["packages/*/test/guide/*.ts"],
    rules: { "@effect/no-import-from-barrel-package": "off" }
  },
  { files: ["scratchpad/examples/**/*.ts"], rules: { "@effect/no-import-from-barrel-package": "off", "@effect/dprint": "off" } },
  // Tests stand above every floor of their own package and may use the testkit.
  { files: ["packages/*/test/**/*.ts", "packages/*/typetest/**/*.ts"], rules: { "import-x/no-restricted-paths": "off" } },
  {
    files: ["**/test/**/*.ts"],
    rules: {
      "no-restricted-syntax": ["error", {
        selector: "CallExpression[callee.property.name=/^deep(Strict)?Equal$/] MemberExpression[object.name='Option']",
        message: "Chai takes an Option.some for equal to an Option.none: use expect(…).toEqual(…)."
      }]
    }
  }
)
