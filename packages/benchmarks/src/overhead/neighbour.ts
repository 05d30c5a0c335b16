/**
 * What is beside a service in production, in a process of its own so that its work is not the service's: a Prometheus that scrapes
 * the page it is told of each second, and a collector that takes what is pushed. It says where that one listens.
 *
 * @since 0.1.0
 */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

process.on("disconnect", () => process.exit())

process.on("message", (page: string) => {
  setInterval(() => {
    fetch(page).then((answer) => answer.text()).catch((error: unknown) => {
      process.stderr.write(`${String(error)}\n`)
      process.exit(1)
    })
  }, 1_000)
})

const server = createServer((request, response) => {
  request.resume().on("end", () => response.writeHead(200, { "content-type": "application/json" }).end("{}"))
})
server.listen(0, "127.0.0.1", () => process.send!(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
