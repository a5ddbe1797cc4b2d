/**
 * What this device keeps beyond what policies say: the pins of one volume, and waiting until all
 * that one of them holds is here. Lives on the main thread.
 *
 * Order: the wish is durable in `volume.json`, then the fs thread decides by it, then the fetch
 * duty walks its list. A process that dies in between starts with the wish.
 *
 * Whether a pin is complete follows from the list of wants: every content that is not here is on
 * it. So looking costs a walk of that list, whatever the size of the folder.
 */
import type { Want, WantsQuery } from '../crdt/wants.ts'
import { hasCode, WormholeError } from '../errors.ts'
import type { Clock } from '../system.ts'
import type { InodeId } from '../types.ts'
import type { FetchDuty } from './fetch-duty.ts'
import { SourceCounter, type PeerCounts } from './fetch-gauge.ts'
import type { OnProgress } from './frames.ts'
import type { Pin } from './home-files.ts'
import type { PinHandle, PinReport, PinRunReport } from './offline-interface.ts'
import type { Pins } from './pins.ts'
import { waitOrAbort } from './sync-run.ts'

/** Pins of one volume: each inode that is looked at is compared with them. */
const PINS_MAX = 1000
/** Wants looked at in one request. */
const PAGE_COUNT = 1024
const PROGRESS_MS = 250
/** Pause before what nobody had is asked for once more. */
const AGAIN_MS = 1000
/** How long one waits for a first device, when nobody is connected. */
const MEET_MS = 5000
/** Passes without any progress after which the rest is told as unavailable. */
const IDLE_PASSES_MAX = 2
/** Files that are named in a report. */
const NAMED_COUNT = 100

type FsMethods = Pins['handlers']
type RunReport = Omit<PinRunReport, 'volume'>

/** What it needs of its volume. */
export interface PinBoardPorts {
  readonly clock: Clock
  pins(): readonly Pin[]
  /** Durable when it returns. */
  save(pins: readonly Pin[]): void
  /** Methods of the fs thread. */
  fs<M extends keyof FsMethods>(
    method: M,
    args: Parameters<FsMethods[M]>[0],
  ): Promise<Awaited<ReturnType<FsMethods[M]>>>
  wants(query: WantsQuery): Promise<Want[]>
  duty(): Pick<FetchDuty, 'add' | 'poke' | 'idle' | 'watch' | 'arrivedBytes' | 'failure'>
  hasPeers(): boolean
  readonly peers: PeerCounts
  /** Looks for other devices, now. */
  seek(): Promise<void>
  /** Chunks on this device: whether it grows tells whether anything arrives. */
  chunkCount(): Promise<number>
}

/** What is missing: bytes and inode of each want, by key. */
type Missing = Map<string, { readonly inode: InodeId; readonly sizeBytes: number }>

interface Tally {
  files: number
  bytes: number
}

/** See the head of this file. */
export class PinBoard implements PinHandle {
  readonly #ports: PinBoardPorts

  constructor(ports: PinBoardPorts) {
    this.#ports = ports
  }

  async pin(path: string): Promise<{ path: string }> {
    const target = await this.#ports.fs('pinTarget', path)
    const others = this.#ports.pins().filter(({ inode }) => inode !== target.inode)
    if (others.length >= PINS_MAX) {
      throw new WormholeError('LIMIT_EXCEEDED', `a volume has at most ${PINS_MAX} pins`)
    }
    await this.#keep([...others, { inode: target.inode, path: target.path }])
    return { path: target.path }
  }

  async unpin(path: string): Promise<{ path: string; pinnedBy?: string }> {
    const { pin, path: shown } = await this.#find(path)
    const left = this.#ports.pins().filter(({ inode }) => inode !== pin.inode)
    await this.#keep(left)
    const pins = left.map(({ inode }) => inode)
    const [[by] = []] = await this.#ports.fs('belowPins', { inodes: [pin.inode], pins })
    if (by === undefined) return { path: shown }
    const [place] = await this.#ports.fs('placesOf', [pins[by] as InodeId])
    return { path: shown, pinnedBy: place ?? (left[by] as Pin).path }
  }

  async #keep(pins: readonly Pin[]): Promise<void> {
    this.#ports.save(pins)
    await this.#ports.fs(
      'setPins',
      pins.map(({ inode }) => inode),
    )
    this.#ports.duty().poke()
  }

  async list(): Promise<PinReport[]> {
    const pins = this.#ports.pins()
    const inodes = pins.map(({ inode }) => inode)
    const places = await this.#ports.fs('placesOf', inodes)
    const missing = inodes.map((): Tally => ({ files: 0, bytes: 0 }))
    await this.#walk(inodes, ({ sizeBytes }, below) => {
      for (const at of below) {
        const tally = missing[at] as Tally
        tally.files++
        tally.bytes += sizeBytes
      }
    })
    return pins.map(({ path }, at) => {
      const tally = missing[at] as Tally
      const place = places[at]
      const state = tally.files === 0 ? 'available' : 'incomplete'
      return { path: place ?? path, state: place === undefined ? 'deleted' : state, missing: tally }
    })
  }

  async look(path: string): Promise<RunReport> {
    const { clock } = this.#ports
    const startMs = clock.monotonicMs()
    const { pin, path: shown } = await this.#find(path)
    const missing = await this.#missing(pin.inode)
    const report = await this.#report(shown, missing, [], { files: 0, bytes: 0 }, startMs)
    return { ...report, isWaiting: missing.size > 0 }
  }

  async wait(path: string, signal: AbortSignal, onProgress: OnProgress): Promise<RunReport> {
    const startMs = this.#ports.clock.monotonicMs()
    const { pin, path: shown } = await this.#find(path)
    let missing: Missing = new Map()
    const fetched: Tally = { files: 0, bytes: 0 }
    const unwatch = this.#ports.duty().watch((wants) => {
      for (const { key } of wants) {
        const want = missing.get(key)
        if (!want) continue
        missing.delete(key)
        fetched.files++
        fetched.bytes += want.sizeBytes
      }
    })
    try {
      const judge = new ProgressJudge()
      for (;;) {
        missing = await this.#missing(pin.inode)
        signal.throwIfAborted()
        if (missing.size === 0) break
        if (judge.isHopeless([...missing.keys()], await this.#ports.chunkCount())) break
        await this.#pass(missing, fetched, signal, onProgress)
        if (missing.size === 0) continue
        const { failure } = this.#ports.duty()
        if (failure !== undefined) throw failure
        if (!(await this.#meet(signal, onProgress))) break
        await waitOrAbort(this.#ports.clock, AGAIN_MS, signal)
      }
      return await this.#report(shown, missing, [...missing.values()], fetched, startMs)
    } catch (error) {
      if (signal.aborted) throw new WormholeError('ABORTED', 'interrupted', { cause: error })
      throw error
    } finally {
      unwatch()
    }
  }

  /** One pass of the duty over what is missing, or until all of it is here. */
  async #pass(
    missing: Missing,
    fetched: Tally,
    signal: AbortSignal,
    onProgress: OnProgress,
  ): Promise<void> {
    const { clock } = this.#ports
    const duty = this.#ports.duty()
    const sources = new SourceCounter(this.#ports.peers)
    let isOver = false
    duty.add([...missing.keys()])
    const idle = duty.idle().then(() => void (isOver = true))
    while (!isOver && missing.size > 0) {
      let left = -duty.arrivedBytes((key) => missing.has(key))
      for (const { sizeBytes } of missing.values()) left += sizeBytes
      const total = fetched.bytes + left
      const sourceCount = sources.count()
      onProgress({ text: 'fetching', done: fetched.bytes, total, isBytes: true, sourceCount })
      await Promise.race([idle, waitOrAbort(clock, PROGRESS_MS, signal)])
    }
  }

  /** Whether a device is connected; when none is, looks for one for a moment. */
  async #meet(signal: AbortSignal, onProgress: OnProgress): Promise<boolean> {
    const { clock, hasPeers, seek } = this.#ports
    if (hasPeers()) return true
    onProgress({ text: 'looking for other devices', done: 0, total: 0 })
    const endMs = clock.monotonicMs() + MEET_MS
    await Promise.race([seek(), waitOrAbort(clock, MEET_MS, signal)])
    while (!hasPeers() && clock.monotonicMs() < endMs) await waitOrAbort(clock, PROGRESS_MS, signal)
    return hasPeers()
  }

  async #missing(pin: InodeId): Promise<Missing> {
    const missing: Missing = new Map()
    await this.#walk([pin], ({ key, inode, sizeBytes }, [isBelow]) => {
      if (isBelow !== undefined) missing.set(key, { inode, sizeBytes })
    })
    return missing
  }

  /** All that is not here, with the pins that it lies below. */
  async #walk(
    pins: readonly InodeId[],
    visit: (want: Want, below: readonly number[]) => void,
  ): Promise<void> {
    if (pins.length === 0) return
    let wants: Want[]
    let after: string | undefined
    do {
      const from = after === undefined ? {} : { after }
      wants = await this.#ports.wants({ ...from, countMax: PAGE_COUNT })
      after = wants.at(-1)?.key
      const inodes = wants.map(({ inode }) => inode)
      const below = await this.#ports.fs('belowPins', { inodes, pins })
      for (const [index, want] of wants.entries()) visit(want, below[index] ?? [])
    } while (wants.length === PAGE_COUNT)
  }

  /** The pin that a path names: where it is, or for one that is deleted, where it was pinned. */
  async #find(path: string): Promise<{ pin: Pin; path: string }> {
    const pins = this.#ports.pins()
    let target: { inode: InodeId; path: string } | undefined
    try {
      target = await this.#ports.fs('pinTarget', path)
    } catch (error) {
      if (!hasCode(error, 'NOT_FOUND') && !hasCode(error, 'NOT_A_DIRECTORY')) throw error
    }
    const found = pins.find(({ inode }) => inode === target?.inode)
    if (found && target) return { pin: found, path: target.path }
    const clean = path === '/' ? path : path.replace(/\/+$/, '')
    const places = await this.#ports.fs(
      'placesOf',
      pins.map(({ inode }) => inode),
    )
    const gone = pins.find((pin, at) => places[at] === undefined && pin.path === clean)
    if (gone) return { pin: gone, path: gone.path }
    throw new WormholeError(
      'NOT_FOUND',
      `${path} is not pinned itself; \`wormhole pins\` lists what is`,
    )
  }

  async #report(
    path: string,
    missing: Missing,
    named: readonly { readonly inode: InodeId; readonly sizeBytes: number }[],
    fetched: Tally,
    startMs: number,
  ): Promise<RunReport> {
    const first = named.slice(0, NAMED_COUNT)
    const places = await this.#ports.fs(
      'placesOf',
      first.map(({ inode }) => inode),
    )
    let bytes = 0
    for (const { sizeBytes } of missing.values()) bytes += sizeBytes
    return {
      path,
      isAvailable: missing.size === 0,
      isWaiting: false,
      fetched,
      missing: { files: missing.size, bytes },
      unavailable: first.map(({ sizeBytes }, at) => ({
        path: places[at] ?? '/?',
        size: sizeBytes,
      })),
      seconds: (this.#ports.clock.monotonicMs() - startMs) / 1000,
    }
  }
}

/** Whether it is of any use to go on: not after some passes in which nothing arrived. */
class ProgressJudge {
  #keys = new Set<string>()
  #chunkCount = -1
  #idleCount = -1

  /** To be asked before each pass. */
  isHopeless(keys: readonly string[], chunkCount: number): boolean {
    const hasNews = chunkCount > this.#chunkCount || keys.some((key) => !this.#keys.has(key))
    this.#idleCount = hasNews ? 0 : this.#idleCount + 1
    this.#keys = new Set(keys)
    this.#chunkCount = chunkCount
    return this.#idleCount >= IDLE_PASSES_MAX
  }
}
