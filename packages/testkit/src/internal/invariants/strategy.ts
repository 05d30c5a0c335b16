/** A strategy as the processes are told it, and by what name it is reported. */
import { pathToFileURL } from "node:url"
import type { Module } from "../../Invariants.js"
import type * as Messages from "./messages.js"

export const encode = (strategy: string | Module): Messages.Strategy => {
  if (typeof strategy === "string") return { builtIn: strategy }
  const { export: name = "default", module } = strategy
  const isUrl = module instanceof URL || module.startsWith("file:")
  return { module: isUrl ? String(module) : pathToFileURL(module).href, export: name }
}

export const nameOf = (strategy: string | Module): string =>
  typeof strategy === "string" ? strategy : String(strategy.module).replace(/^.*[\\/]/, "")
