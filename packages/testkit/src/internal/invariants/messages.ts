/** What the test and one of its processes say to each other. */
import * as Schema from "effect/Schema"

export const Suite = Schema.Literal("increments", "inserts")
export type Suite = typeof Suite.Type

/** A built-in one by its name, another by its module and the name of its export. */
export const Strategy = Schema.Union(
  Schema.Struct({ builtIn: Schema.String }),
  Schema.Struct({ module: Schema.String, export: Schema.String })
)
export type Strategy = typeof Strategy.Type

export const ToProcess = Schema.Union(
  /** Connect, find the strategy, and say `Ready`. */
  Schema.TaggedStruct("Prepare", {
    suite: Suite,
    strategy: Strategy,
    /** With the database. */
    url: Schema.String,
    operations: Schema.Number,
    /** A seed of this process alone. */
    seed: Schema.Number
  }),
  /** Everybody is there: begin, or go on from a rendezvous. */
  Schema.TaggedStruct("Go", {}),
  /** The server has been asked what was left behind: disconnect, and say `Free`. */
  Schema.TaggedStruct("Release", {})
)
export type ToProcess = typeof ToProcess.Type

export const FromProcess = Schema.Union(
  Schema.TaggedStruct("Started", {}),
  Schema.TaggedStruct("Ready", {}),
  Schema.TaggedStruct("Refused", { reason: Schema.String }),
  Schema.TaggedStruct("Arrived", {}),
  Schema.TaggedStruct("Done", {
    /** Operations that succeeded; of the suite `inserts`, those among them that have inserted a row. */
    succeeded: Schema.Number,
    inserted: Schema.Number,
    failed: Schema.Number,
    /** Why, each reason once. */
    failures: Schema.Array(Schema.String),
    /** By the clock of the machine, in milliseconds. */
    from: Schema.Number,
    to: Schema.Number
  }),
  Schema.TaggedStruct("Free", {})
)
export type FromProcess = typeof FromProcess.Type
export type Done = Extract<FromProcess, { readonly _tag: "Done" }>
