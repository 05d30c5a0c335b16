import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import { homedir } from "node:os"
import { join, resolve } from "node:path"

/** Where servers that were fetched, and what is costly to prepare for them, are kept between runs. */
export const cacheFolder: Effect.Effect<string> = Config.nonEmptyString("SAFESYNC_CACHE_DIR").pipe(
  Config.orElse(() =>
    Config.nonEmptyString("XDG_CACHE_HOME").pipe(
      Config.withDefault(join(homedir(), ".cache")),
      Config.map((caches) => join(caches, "safesync"))
    )
  ),
  Config.map((folder) => resolve(folder)),
  Effect.orDie
)
