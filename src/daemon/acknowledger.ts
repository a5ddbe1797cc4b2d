/**
 * Tells the others what this device has, when nothing else does: every own entry carries the
 * frontier that its author had applied, so one is written for its own sake only by a device that
 * has written nothing for a while and has applied what others said. An acknowledgement says
 * nothing, so none is ever written because of another.
 */
import { errorToData, hasCode } from '../errors.ts'
import type { Clock, Timer } from '../system.ts'
import type { DeviceId } from '../types.ts'
import type { Volume } from '../volume.ts'

/** Shortest time between an own entry and an acknowledgement; the longest is twice that. */
export const ACKNOWLEDGE_MS = 600_000

/** Looks every `ACKNOWLEDGE_MS`. */
export class Acknowledger {
  readonly #volume: Volume
  readonly #device: DeviceId
  readonly #clock: Clock
  readonly #onProblem: (problem: { code: string; message: string }) => void
  /** Stamp of the newest own entry when this last looked. */
  #stamp: number | undefined
  #timer: Timer | undefined

  constructor(options: {
    readonly volume: Volume
    readonly device: DeviceId
    readonly clock: Clock
    readonly onProblem: (problem: { code: string; message: string }) => void
  }) {
    this.#volume = options.volume
    this.#device = options.device
    this.#clock = options.clock
    this.#onProblem = options.onProblem
  }

  start(): void {
    this.#stamp = this.#ownStamp()
    this.#timer = this.#clock.setTimer(ACKNOWLEDGE_MS, () => void this.#look())
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #ownStamp(): number | undefined {
    return this.#volume.lastStamps().get(this.#device)
  }

  /** Looks when it is its turn: what was written before counts. */
  #acknowledge(): Promise<void> {
    const volume = this.#volume
    const device = this.#device
    return volume.write(() => (volume.members.owesAcknowledgement(device) ? [{ type: 'ack' }] : []))
  }

  /** Never rejects: what cannot be written now is still owed at the next look. */
  async #look(): Promise<void> {
    const isQuiet = this.#ownStamp() === this.#stamp
    try {
      if (isQuiet) await this.#acknowledge()
    } catch (error) {
      // A device that is not admitted yet has nobody who would read it.
      if (!hasCode(error, 'VOLUME_CLOSED') && !hasCode(error, 'NOT_A_MEMBER')) {
        const { code, message } = errorToData(error)
        this.#onProblem({ code, message: `cannot acknowledge: ${message}` })
      }
    }
    if (this.#timer !== undefined) this.start()
  }
}
