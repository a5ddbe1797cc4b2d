/** The tree alone: making an edit, publishing it, taking it over. No log, no journal. */
import path from 'node:path'
import { TreeWriter } from '../../../src/crdt/writer.ts'
import type { Overlay } from '../../../src/crdt/overlay.ts'
import type { ShardChange } from '../../../src/crdt/interface.ts'
import { strategyOf } from '../../../src/daemon/strategy.ts'
import { createActor } from '../../../src/log/actors.ts'
import { identityFromSeed } from '../../../src/log/keys.ts'
import { HybridClock, systemClock, systemRandom } from '../../../src/system.ts'
import { feedId, nameFromText, type InodeId } from '../../../src/types.ts'
import type { Report } from '../../measure.ts'
import { nameOf, openOverlay, openRows, randomAddress } from './device.ts'
import { takeRates } from './rates.ts'

const ROUNDS = 7
const GROUPS_PER_ROUND = 40
const GROUP_COUNT = 100
const DIRECTORY_COUNT = 1000
const NO_META = new Map<string, Uint8Array>()

function openTree(directory: string, name: string) {
  const identity = identityFromSeed(systemRandom.bytes(32))
  const actor = createActor(feedId(identity.device, 0), systemRandom)
  const self = { actor, device: identity.device, deviceName: name }
  const rows = openRows(path.join(directory, name), systemRandom.bytes(32))
  const writer = new TreeWriter({ rows: rows.writer, self, strategyOf })
  writer.registerActor(self)
  return { self, rows, writer }
}

/** Makes `count` creates, in directories of `DIRECTORY_COUNT`, visible on the overlay. */
class Creator {
  readonly #overlay: Overlay
  #directory: InodeId
  #number = 0
  #files = 0

  constructor(overlay: Overlay) {
    this.#overlay = overlay
    this.#directory = overlay.root
  }

  group(): void {
    const overlay = this.#overlay
    for (let left = GROUP_COUNT; left > 0; left--) {
      if (this.#files % DIRECTORY_COUNT === 0) {
        const name = nameFromText(`directory-${this.#files}`)
        const made = overlay.mkdir(overlay.root, name, { mode: 0o755, uid: 0, gid: 0 })
        overlay.apply({ ...made.edit, number: ++this.#number })
        this.#directory = made.id
      }
      const { edit } = overlay.createFile(this.#directory, nameFromText(nameOf(this.#files++)), {
        mode: 0o644,
        uid: 0,
        gid: 0,
        content: { ref: { type: 'chunk', address: randomAddress() }, sizeBytes: 1000 },
      })
      overlay.apply({ ...edit, number: ++this.#number })
    }
  }
}

/** `crdt_local`, `crdt_remote`. */
export async function measureCrdt(report: Report, directory: string): Promise<void> {
  const own = openTree(directory, 'own')
  const other = openTree(directory, 'other')
  const overlay = openOverlay(own.rows.reader, new HybridClock(systemClock))
  const creator = new Creator(overlay)
  other.writer.registerActor(own.self)
  const author = { actors: new Set([own.self.actor]) }
  const sent: ShardChange[][] = []
  const local = (): void => {
    for (let group = 0; group < GROUPS_PER_ROUND; group++) {
      creator.group()
      const folded = own.writer.fold(overlay.pending())
      own.writer.commit(NO_META)
      overlay.cover(folded.coveredTo)
      sent.push(folded.changes.map(({ shard, change }) => ({ shard, change: Buffer.from(change) })))
    }
  }
  const remote = (): void => {
    for (const changes of sent.splice(0)) {
      const verdict = other.writer.check(changes, author)
      if (!verdict.isValid) throw new Error(verdict.reason)
      other.writer.apply(changes)
      other.writer.commit(NO_META)
    }
  }
  await takeRates(report, {
    rounds: ROUNDS,
    count: GROUPS_PER_ROUND * GROUP_COUNT,
    rows: [
      { figure: { name: 'crdt_local', bar: 8000 }, work: local },
      { figure: { name: 'crdt_remote', bar: 15_000 }, work: remote },
    ],
  })
  for (const { rows, writer } of [own, other]) {
    writer.close()
    await rows.reader.close()
    await rows.writer.close()
  }
}
