/**
 * A member that breaks the rules: its entries are signed and sealed as they must be, and hold what
 * no honest device writes. Nothing of it may stop, confuse or crash anybody.
 */
import { encodeChange } from '../../src/crdt/change.ts'
import type { EntryBody } from '../../src/log/interface.ts'
import { feedId, nameFromText, type ActorId, type DeviceId } from '../../src/types.ts'
import { HostileAuthor, treePartOf } from '../helpers/hostile-author.ts'
import { admitTo } from '../helpers/volume-device.ts'
import type { SimDevice } from './device.ts'
import type { Simulation } from './simulation.ts'

/** See the head of this file. */
export class Mallory {
  readonly #simulation: Simulation
  #author: HostileAuthor | undefined
  /** Whose log it copies. */
  #source: SimDevice | undefined
  /** It has said to have applied what does not exist: nothing it writes is ever applied. */
  #isStuck = false

  constructor(simulation: Simulation) {
    this.#simulation = simulation
  }

  /** Joins at first; then writes something bad and gives it to some device. */
  async act(): Promise<void> {
    const { random, alive, shared, options, trace } = this.#simulation
    const device = alive[random.below(Math.max(1, alive.length))] as SimDevice | undefined
    if (!device || this.#isStuck) return
    if (!this.#author) {
      if (device.daemon.volume.role() !== 'admin' || device.hasTrouble) return
      const author = new HostileAuthor(shared, 'mallory', `sim ${options.seed}`)
      const admitting = admitTo(device.daemon.volume, author.identity, 'mallory', shared)
      try {
        await device.settle(admitting, 'admitting mallory')
      } catch (error) {
        if (device.isAlive) throw error
        return
      }
      this.#author = author.see(device.daemon)
      this.#source = device
      trace.add('mallory is in')
      return
    }
    this.#simulation.count('mallory')
    if (device === this.#source && this.#isNews(device)) this.#author.see(device.daemon)
    // Another branch, on which it goes on as the same actor.
    if (random.below(4) === 0) this.#author.fork()
    const frame = this.#author.write(this.#body(device))
    trace.add(`mallory gives entry ${frame.seq} to ${device.name}`)
    const frames = this.#author.frames.map(({ bytes }) => bytes)
    await device
      .settle(device.daemon.volume.receive(this.#author.feed, frames), 'an entry of mallory')
      .catch((error: unknown) => trace.add(`${device.name} refuses: ${String(error)}`))
  }

  /** Whether a device has applied all that mallory has said to have applied. */
  #isNews(device: SimDevice): boolean {
    const applied = device.daemon.volume.appliedFrontier()
    const said = [...(this.#author?.frontier ?? [])]
    return said.every(([feed, { length }]) => (applied.get(feed)?.length ?? 0) >= length)
  }

  #body(device: SimDevice): Partial<EntryBody> & { announce?: ActorId } {
    const { random } = this.#simulation
    const author = this.#author as HostileAuthor
    const announce = author.actor
    const ops = [{ key: `L${'00'.repeat(8)}`, value: Buffer.from([9, 9, 9]), predecessors: [] }]
    const change = (startOp: number) => ({
      shard: random.below(4096),
      change: encodeChange({ actor: author.actor, seq: 1, startOp, deps: [], ops }).bytes,
    })
    switch (random.below(7)) {
      case 0:
        return { announce, tree: { epoch: 0, coveredTo: 0, changes: [change(100_000_000)] } }
      case 1:
        return { tree: { epoch: 0, coveredTo: 0, changes: [change(1)] } }
      case 2: {
        const garbage = { shard: 1, change: random.bytes(40) }
        return { tree: { epoch: 0, coveredTo: 1 << 30, changes: [garbage] } }
      }
      case 3: {
        if (random.below(6) > 0) return {}
        const feed = feedId('ee'.repeat(32) as DeviceId, 0)
        const head = { length: 5, hash: 'ab'.repeat(32) }
        this.#isStuck = true
        return { frontier: new Map([...author.frontier, [feed, head]]) }
      }
      case 4:
      case 5: {
        // Right by itself; on several branches the same actor says different things.
        const { overlay } = device.daemon
        const name = `mallory ${author.frames.length} ${random.below(1e6)}`
        const owner = { mode: 0o644, uid: 0, gid: 0 }
        const { edit } = overlay.createFile(overlay.root, nameFromText(name), owner)
        return { announce, tree: treePartOf(edit, author.actor) }
      }
      default:
        return { control: [{ type: 'labels', labels: { region: 'eu' } }] }
    }
  }
}
