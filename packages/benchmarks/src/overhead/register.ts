/**
 * Loaded before all else by a process that is to measure nothing.
 *
 * @since 0.1.0
 */
import { register } from "node:module"

register(import.meta.url.replace("register", "hooks"))
