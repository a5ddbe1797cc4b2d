/** Requests to peers to publish what they have pending, until answered or the peer is gone. */
import type { DeviceId, Frontier } from '../types.ts'

interface Ask {
  readonly device: DeviceId
  readonly settle: (frontier: Frontier | undefined) => void
}

/** The open requests of one swarm. */
export class PublishAsks {
  readonly #asks = new Map<number, Ask>()
  #nextId = 1

  /** A request; `send` puts it on the wire. Resolves undefined when the device goes away. */
  open(device: DeviceId, send: (id: number) => void): Promise<Frontier | undefined> {
    const id = this.#nextId++
    const answer = new Promise<Frontier | undefined>((settle) => {
      this.#asks.set(id, { device, settle })
    })
    send(id)
    return answer
  }

  /** An answer; others than the device asked cannot give it. */
  answer(device: DeviceId, id: number, frontier: Frontier): void {
    const ask = this.#asks.get(id)
    if (ask?.device !== device) return
    this.#asks.delete(id)
    ask.settle(frontier)
  }

  /** A link of the device, or the device, is gone. */
  drop(device: DeviceId): void {
    for (const [id, ask] of this.#asks) {
      if (ask.device !== device) continue
      this.#asks.delete(id)
      ask.settle(undefined)
    }
  }
}
