/**
 * What lies between the threads of a simulated daemon: message ports whose messages are copied as
 * between real threads and arrive in order, a little later. And the clock of one device: its wall
 * clock is wrong by some amount, and nothing fires in a process that is dead.
 */
import type { MessagePortLike } from '../../src/rpc.ts'
import type { Clock } from '../../src/system.ts'
import type { MortalProcess } from '../helpers/mortal-disk.ts'
import type { SeededRandom, SimClock } from '../helpers/sim-clock.ts'

/** How messages travel between two threads. */
export interface ChannelOptions {
  readonly clock: Clock
  readonly random: SeededRandom
  readonly delayMsMax: number
}

class SimPort implements MessagePortLike {
  readonly #options: ChannelOptions
  peer!: SimPort
  #listener: ((message: unknown) => void) | undefined
  #onClose: (() => void) | undefined
  #freeAtMs = 0
  isClosed = false

  constructor(options: ChannelOptions) {
    this.#options = options
  }

  postMessage(value: unknown): void {
    if (this.isClosed) return
    const message = structuredClone(value)
    const { clock, random, delayMsMax } = this.#options
    const nowMs = clock.monotonicMs()
    // Mostly at once; now and then the other thread is busy.
    const delayMs = random.below(4) === 0 ? random.below(delayMsMax + 1) : 0
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs + delayMs)
    clock.setTimer(this.#freeAtMs - nowMs, () => this.peer.#arrive(message))
  }

  #arrive(message: unknown): void {
    if (!this.isClosed) this.#listener?.(message)
  }

  on(event: 'message' | 'messageerror' | 'close', listener: (value: unknown) => void): this {
    if (event === 'message') this.#listener = listener
    else if (event === 'close') this.#onClose = () => listener(undefined)
    return this
  }

  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.#options.clock.setTimer(0, () => {
      this.peer.isClosed = true
      this.peer.#onClose?.()
    })
  }
}

/** Both ends of a channel. */
export function createChannel(options: ChannelOptions): [MessagePortLike, MessagePortLike] {
  const [here, there] = [new SimPort(options), new SimPort(options)]
  here.peer = there
  there.peer = here
  return [here, there]
}

/** The clock of one process of a machine whose wall clock is ahead by `machine.skewMs`. */
export function processClock(
  clock: SimClock,
  machine: { readonly skewMs: number },
  process: MortalProcess,
): Clock {
  return {
    nowMs: () => clock.nowMs() + machine.skewMs,
    nowNs: () => clock.nowNs() + BigInt(machine.skewMs) * 1_000_000n,
    monotonicMs: () => clock.monotonicMs(),
    setTimer: (delayMs, fire) => {
      return clock.setTimer(delayMs, () => {
        try {
          if (process.isAlive) fire()
        } catch (error) {
          // It died of what it did: nobody is left to hear of that.
          if (process.isAlive) throw error
        }
      })
    },
  }
}
