/**
 * How fast the disk is on which servers of our own keep their files: where a commit waits for it, it is what contenders have in common.
 *
 * @since 0.1.0
 */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { percentile } from "./Statistics.js"

/**
 * Milliseconds until 512 bytes are on disk, the median of a hundred times.
 *
 * @since 0.1.0
 * @category accessors
 */
export const fsyncMillis = (): number => {
  const folder = mkdtempSync(join(tmpdir(), "safesync-fsync-"))
  const file = openSync(join(folder, "file"), "w")
  try {
    const block = Buffer.alloc(512)
    return percentile(
      Array.from({ length: 100 }, () => {
        const start = performance.now()
        writeSync(file, block)
        fdatasyncSync(file)
        return performance.now() - start
      }),
      0.5
    )
  } finally {
    closeSync(file)
    rmSync(folder, { recursive: true })
  }
}
