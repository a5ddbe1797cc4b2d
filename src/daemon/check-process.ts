/**
 * Checks the files of one volume in a process of its own: at the lowest priority, and able to die
 * of what a damaged index does to LMDB without taking the daemon along. Reads only.
 *
 * Started by `check-run.ts` with an IPC channel; ends with its work, or when the channel closes.
 */
import os from 'node:os'
import { checkPacks, packBytes, PackIndex } from '../chunks/check.ts'
import { addressOf } from '../chunks/codec.ts'
import { ChunkKeyRing } from '../chunks/keys.ts'
import type { SealedStore } from '../chunks/interface.ts'
import { PackFiles } from '../chunks/pack-files.ts'
import { ContentReader } from '../chunks/reader.ts'
import { ChunkSource } from '../chunks/source.ts'
import { checkLmdbRows, openLmdbRowStore } from '../crdt/lmdb.ts'
import { systemDisk } from '../disk.ts'
import { errorToData, hasCode } from '../errors.ts'
import type { CheckStep } from '../finding.ts'
import { checkJournal, checkLog, segmentBytes } from '../log/check.ts'
import type { DeviceLabels } from '../policy/interface.ts'
import { identityFromSeed, VolumeSecrets } from '../log/keys.ts'
import { systemRandom } from '../system.ts'
import type { ChunkAddress, InodeId } from '../types.ts'
import { checkContents, lackingFinding } from './check-contents.ts'
import type { CheckNews, CheckOrder, CheckPart } from './check-order.ts'
import { chunkKeysData, type ThreadData } from './threads.ts'

function tell(news: CheckNews): void {
  process.send?.(news)
}

/** Gives the channel a turn: its end ends this process. */
function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

class Check {
  readonly #data: ThreadData
  readonly #labels: DeviceLabels
  readonly #pins: readonly InodeId[]
  readonly #indexKey: Buffer
  readonly #journalKey: Buffer
  readonly #packIndex: PackIndex
  readonly #bad = new Set<ChunkAddress>()
  #done = 0
  #total = 0

  constructor({ data, labels = {}, pins = [] }: CheckOrder) {
    const identity = identityFromSeed(data.seed)
    this.#data = data
    this.#labels = labels
    this.#pins = pins
    this.#indexKey = identity.localKey(`index/${data.volume}`)
    this.#journalKey = identity.localKey(`journal/${data.volume}`)
    this.#packIndex = new PackIndex(systemDisk, data.paths.packs)
  }

  async run(parts: readonly CheckPart[]): Promise<void> {
    for (const part of parts) this.#total += this.#bytesOf(part)
    for (const part of parts) {
      tell({ type: 'begun', part })
      try {
        if (part === 'contents') await this.#contents()
        else await this.#steps(part)
      } catch (error) {
        // A disk that does not read: what comes behind it in this part is not known.
        const { code, message } = errorToData(error)
        if (!hasCode(error, 'IO_ERROR') && !hasCode(error, 'INDEX_CORRUPT')) throw error
        tell({ type: 'finding', finding: { part, code, message } })
      }
      tell({ type: 'ended', part })
    }
  }

  #bytesOf(part: CheckPart): number {
    const { paths } = this.#data
    switch (part) {
      case 'journal':
        return segmentBytes(systemDisk, paths.journal)
      case 'log':
        return segmentBytes(systemDisk, paths.log)
      case 'packs':
        return packBytes(systemDisk, paths.packs)
      default:
        return 0
    }
  }

  #stepsOf(part: Exclude<CheckPart, 'contents'>): Generator<CheckStep> {
    const { paths, volume } = this.#data
    switch (part) {
      case 'journal':
        return checkJournal({ disk: systemDisk, directory: paths.journal, key: this.#journalKey })
      case 'log':
        return checkLog({ disk: systemDisk, directory: paths.log, volume })
      case 'packs':
        return checkPacks({ disk: systemDisk, directory: paths.packs, index: this.#packIndex })
      case 'index':
        return checkLmdbRows({ directory: paths.index, key: this.#indexKey, random: systemRandom })
    }
  }

  async #steps(part: Exclude<CheckPart, 'contents'>): Promise<void> {
    for (const { bytes, findings } of this.#stepsOf(part)) {
      for (const finding of findings) {
        if (finding.address) this.#bad.add(finding.address)
        tell({ type: 'finding', finding })
      }
      if (part !== 'index') this.#done += bytes
      this.#progress(`checking the ${part}`)
      await breathe()
    }
  }

  #progress(text: string): void {
    const done = Math.min(this.#done, this.#total)
    tell({ type: 'progress', text, done, total: this.#total, isBytes: true })
  }

  async #contents(): Promise<void> {
    const { paths, secrets } = this.#data
    const options = { directory: paths.index, key: this.#indexKey, random: systemRandom }
    const rows = openLmdbRowStore({ ...options, isReadOnly: true })
    // Read after the snapshot began: contents that it shows were synced, and so listed, before.
    rows.get('m')
    const index = new PackIndex(systemDisk, paths.packs)
    // What it does not list may well be here: only its repair, or the next start, can tell.
    if (index.fault !== undefined) return rows.close()
    const isGood = (address: ChunkAddress): boolean => index.has(address) && !this.#bad.has(address)
    const keys = new ChunkKeyRing(chunkKeysData(VolumeSecrets.decode(secrets)))
    const store = checkedStore(index, paths.packs)
    const reader = new ContentReader(new ChunkSource({ store, keys }))
    try {
      for await (const { lacking } of checkContents({
        rows,
        reader,
        isGood,
        labels: this.#labels,
        pins: this.#pins,
      })) {
        for (const content of lacking) {
          tell({ type: 'finding', finding: lackingFinding(content), lacking: content })
        }
        this.#progress('checking the files')
        await breathe()
      }
    } finally {
      await rows.close()
    }
  }
}

/** The chunks that an index log lists, digests checked. */
function checkedStore(index: PackIndex, directory: string): SealedStore {
  const files = new PackFiles(systemDisk, directory)
  const getSync = (address: ChunkAddress): Buffer | undefined => {
    const listed = index.find(address)
    if (!listed) return undefined
    const sealed = Buffer.allocUnsafe(listed.length)
    files.readSync(listed.pack, listed.offset, sealed)
    return addressOf(sealed) === address ? sealed : undefined
  }
  return {
    has: (address) => index.has(address),
    getSync,
    get: (address) => Promise.resolve(getSync(address)),
  }
}

async function start(order: CheckOrder): Promise<void> {
  os.setPriority(os.constants.priority.PRIORITY_LOW)
  await new Check(order).run(order.parts)
  tell({ type: 'done' })
}

process.on('disconnect', () => process.exit(0))
process.once('message', (order) => {
  start(order as CheckOrder)
    .catch((error: unknown) => tell({ type: 'failed', error: errorToData(error) }))
    .finally(() => process.disconnect())
})
