import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { run } from "./command.js"
import { WayFailed } from "./engine.js"

/** The files of a certificate, and its text, which is also that of the authority that signed it: itself. */
export interface Certificate {
  readonly certFile: string
  readonly keyFile: string
  readonly pem: string
}

/** A certificate for this machine's loopback addresses that is good for a day. Node can make keys, but no certificates. */
export const make = (folder: string): Effect.Effect<Certificate, WayFailed> => {
  const certFile = join(folder, "cert.pem")
  const keyFile = join(folder, "key.pem")
  return run("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"],
    ...["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"],
    ...["-keyout", keyFile, "-out", certFile]
  ], "30 seconds").pipe(
    Effect.map(() => ({ certFile, keyFile, pem: readFileSync(certFile, "utf8") })),
    Effect.mapError((error) =>
      error.reason === "not-found"
        ? new WayFailed({ reason: "there is no openssl to make a certificate with.", hint: "Install it." })
        : new WayFailed({ reason: `openssl made no certificate (${error.output.split("\n").at(-1)}).`, hint: "" })
    )
  )
}
