/** What both programs are told, and what they have in common. */
import * as Schema from "effect/Schema"

export interface Settings {
  readonly mysql: string
  readonly redis: string
  readonly stream: string
  /** The pence of each payment; what is below 0 fails. */
  readonly messages: ReadonlyArray<number>
}

export const settings = (): Settings => JSON.parse(process.env["SETTINGS"]!)

export const Payment = Schema.Struct({ account: Schema.Int, pence: Schema.Int })
