/** Waiting for a condition in real time, with a bound. */
import { createSocket } from 'node:dgram'

/** Resolves once `condition` holds. @throws Error after `limitMs`. */
export async function untilTrue(
  condition: () => boolean,
  what: string,
  limitMs = 10_000,
): Promise<void> {
  const endMs = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`after ${limitMs} ms still not: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** A UDP port on 127.0.0.1 that was free a moment ago. */
export async function freeUdpPort(): Promise<number> {
  const socket = createSocket('udp4')
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  const { port } = socket.address()
  await new Promise<void>((resolve) => socket.close(resolve))
  return port
}
