/**
 * Garbage collections of simulated devices, in the background of everything else: at random moments
 * of a run, and at its end, when what is unused must go and nothing else.
 */
import { hasCode } from '../../src/errors.ts'
import { SeededRandom } from '../helpers/sim-clock.ts'
import type { SimDevice } from './device.ts'
import { check } from './failure.ts'
import type { Simulation } from './simulation.ts'

/** What a failing disk, or the end of a daemon, may answer. */
const TROUBLE = ['DISK_FULL', 'IO_ERROR', 'WRITER_BROKEN', 'VOLUME_CLOSED', 'ABORTED'] as const

/** Deeds whose bytes may be wasted. */
const RECENT_COUNT = 30

/** Starts collections now and then; nobody waits for them. */
export class Collections {
  readonly #simulation: Simulation
  readonly #random: SeededRandom
  readonly #running = new Set<SimDevice['daemon']>()

  constructor(simulation: Simulation) {
    this.#simulation = simulation
    this.#random = new SeededRandom(simulation.options.seed ^ 0x7f4a7c15)
  }

  /** Maybe a device gets waste, or begins a collection. */
  step(): void {
    const { alive, options } = this.#simulation
    if (!options.hasCollections || alive.length === 0) return
    const device = alive[this.#random.below(alive.length)] as SimDevice
    if (this.#random.below(2) === 0) void this.#waste(device)
    if (this.#random.below(6) > 0 || this.#running.has(device.daemon)) return
    void this.#run(device)
  }

  /**
   * Chunks that nothing names, as a `put` leaves them that was given up: of bytes that somebody
   * wrote lately, here or elsewhere, and that may be named here at any time.
   */
  async #waste(device: SimDevice): Promise<void> {
    const deeds = this.#simulation.ledger.deeds.slice(-RECENT_COUNT)
    const deed = deeds[this.#random.below(Math.max(1, deeds.length))]
    if (!deed?.token) return
    try {
      const stream = device.daemon.contents.stream()
      await stream.write(this.#simulation.ledger.bytesOf(deed))
      await stream.finish()
      this.#simulation.count('waste')
    } catch (error) {
      this.#note(error)
    }
  }

  /** What is no trouble of a disk or the end of a daemon ends the run. */
  #note(error: unknown): void {
    const isTrouble = TROUBLE.some((code) => hasCode(error, code))
    if (!isTrouble) this.#simulation.fatal ??= error
  }

  async #run(device: SimDevice): Promise<void> {
    const { trace } = this.#simulation
    const { daemon } = device
    this.#running.add(daemon)
    trace.add(`${device.name} collects`)
    try {
      const { report } = await daemon.collect({ isDryRun: false })
      const { freed, postponed } = report
      trace.add(`${device.name} frees ${freed.chunks} chunks ${postponed ?? ''}`)
      this.#simulation.count(postponed === undefined ? 'collection' : 'postponed collection')
      if (freed.chunks > 0) this.#simulation.count('collection that frees')
    } catch (error) {
      this.#note(error)
    } finally {
      this.#running.delete(daemon)
    }
  }

  /** Every device frees what it does not use, and nothing is left to free. */
  async finish(): Promise<void> {
    const { clock, members, options } = this.#simulation
    if (!options.hasCollections) return
    await clock.until(() => this.#running.size === 0 || this.#areDead, 120_000, 'collections')
    for (const device of members) {
      const collect = async (isDryRun: boolean) => {
        return (await device.settle(device.daemon.collect({ isDryRun }), 'a collection')).report
      }
      const first = await collect(false)
      if (first.postponed !== undefined) {
        this.#simulation.count('last collection postponed')
        continue
      }
      this.#simulation.count('last collection')
      const second = await collect(true)
      check(second.unused.chunks === 0, 'integrity', () => {
        return `${device.name} leaves ${second.unused.chunks} unused chunks`
      })
    }
  }

  /** What runs belongs to daemons that are no more. */
  get #areDead(): boolean {
    const alive = new Set(this.#simulation.alive.map(({ daemon }) => daemon))
    return [...this.#running].every((daemon) => !alive.has(daemon))
  }
}
