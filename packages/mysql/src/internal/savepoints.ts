/**
 * The savepoints that a transaction has set, whoever sets them: `Transaction.savepoint`, a nested `sql.withTransaction`, a plain
 * statement. What is only known here, and not to the server, is undone with what the server undoes.
 *
 * @internal
 */

/** Called when a savepoint is set; what it gives is called whenever the transaction goes back to that one. */
export type Mark = () => () => void

export class Savepoints {
  private readonly marks: Array<Mark> = []
  private readonly set: Array<readonly [name: string, undo: ReadonlyArray<() => void>]> = []

  /** To be called before the first savepoint. */
  onSet(mark: Mark): void {
    this.marks.push(mark)
  }

  add(name: string): void {
    this.set.push([name, this.marks.map((mark) => mark())])
  }

  goBackTo(name: string): void {
    const at = this.set.findLastIndex(([other]) => other === name)
    if (at < 0) return
    this.set.length = at + 1
    for (const undo of this.set[at]![1]) undo()
  }
}
