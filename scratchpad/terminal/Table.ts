/**
 * How a report is printed: figures in a frame, and below them what is wrong.
 *
 * @since 0.1.0
 */

/**
 * The lines of a table, numbers with separators.
 *
 * @since 0.1.0
 * @category output
 */
export const make = (
  rows: ReadonlyArray<readonly [name: string, value: string | number]>
): ReadonlyArray<string> => {
  const cells = rows.map(([name, value]) =>
    [name, typeof value === "number" ? value.toLocaleString("en-GB") : value] as const
  )
  const widths = [0, 1].map((column) => Math.max(...cells.map((row) => row[column]!.length)))
  const rule = (left: string, middle: string, right: string) =>
    `${left}${widths.map((width) => "─".repeat(width + 2)).join(middle)}${right}`
  return [
    rule("┌", "┬", "┐"),
    ...cells.map(([name, value]) => `│ ${name.padEnd(widths[0]!)} │ ${value.padStart(widths[1]!)} │`),
    rule("└", "┴", "┘")
  ]
}

/**
 * The first twenty, and how many more there are.
 *
 * @since 0.1.0
 * @category output
 */
export const list = (wrong: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...wrong.slice(0, shown).map((one) => `- ${one}`),
  ...(wrong.length > shown ? [`- and ${wrong.length - shown} more`] : [])
]

// internal

const shown = 20
