/**
 * Where frames belong: which run they extend, or which new run they start. Decides only; the store
 * writes.
 *
 * A frame belongs behind the entry that it follows. When that entry has another one behind it
 * already, or lies just below a gap, the frame starts a branch. A branch that turns out to be what
 * was missing in a gap becomes part of the chain around it (`feeds.ts`).
 */
import { WormholeError } from '../errors.ts'
import type { DeviceId, FeedHead, FeedId } from '../types.ts'
import { branchId, feedDevice, feedRoot } from '../types.ts'
import { runName, type ChainRun, type FeedChain } from './chain.ts'
import type { AppendOptions, EntryFrame, FeedTip } from './interface.ts'
import { NO_HASH, type RunFile } from './run-file.ts'

/** What a plan needs of the store. */
export interface RunPlanOptions {
  readonly device: DeviceId | undefined
  chains(feed: FeedId): readonly FeedChain[]
  holder(tip: FeedTip): FeedChain | undefined
}

/** What one group adds to one run. */
export interface Addition<Request> {
  readonly chain: FeedId
  readonly directory: string
  readonly start: number
  readonly previousHash: string
  /** Undefined for a new run. */
  readonly file: RunFile | undefined
  head: FeedHead
  readonly frames: EntryFrame[]
  readonly requests: Set<Request>
}

/** An addition to be, without the frames that others added to it. */
type Target = Omit<Addition<unknown>, 'head' | 'frames' | 'requests'>

/** What one request adds to one run. */
interface Staged {
  readonly target: Target
  head: FeedHead
  readonly frames: EntryFrame[]
}

/** See the head of this file. */
export class RunPlan {
  readonly #options: RunPlanOptions

  constructor(options: RunPlanOptions) {
    this.#options = options
  }

  /**
   * Adds a request to a group. Returns false when it has to wait for the group to be written.
   * @throws {WormholeError} `ENTRY_INVALID`; nothing was added then.
   */
  add<Request extends { readonly options: AppendOptions }>(
    request: Request,
    frames: readonly EntryFrame[],
    additions: Map<string, Addition<Request>>,
  ): boolean {
    const staged = new Map<string, Staged>()
    for (const frame of frames) {
      if (this.#isHeld(frame, staged) || continues(frame, staged, additions)) continue
      const root = feedRoot(frame.feed)
      const isPlanned = [...additions.values()].some(({ chain }) => feedRoot(chain) === root)
      if (isPlanned) return false
      const target = this.#place(frame, request.options)
      if (staged.has(target.directory)) refuse(frame, 'two entries for one position at a time')
      stage(frame, target, staged)
    }
    for (const [directory, { target, head, frames: fresh }] of staged) {
      const addition = additions.get(directory) ?? {
        ...target,
        head,
        frames: [],
        requests: new Set(),
      }
      additions.set(directory, addition)
      addition.head = head
      addition.frames.push(...fresh)
      addition.requests.add(request)
    }
    return true
  }

  #isHeld(frame: EntryFrame, staged: ReadonlyMap<string, Staged>): boolean {
    const root = feedRoot(frame.feed)
    for (const { target, frames } of staged.values()) {
      if (feedRoot(target.chain) !== root) continue
      if (frames.some(({ hash }) => hash === frame.hash)) return true
    }
    const isShorter = (chain: FeedChain): boolean => chain.head.length <= frame.seq
    if (this.#options.chains(root).every(isShorter)) return false
    const tip = { feed: root, length: frame.seq + 1, hash: frame.hash }
    return this.#options.holder(tip) !== undefined
  }

  #place(frame: EntryFrame, options: AppendOptions): Target {
    const root = feedRoot(frame.feed)
    const chains = this.#options.chains(root)
    const isForeign = options.isFromPeer === true && feedDevice(root) === this.#options.device
    for (const chain of chains) {
      const found = this.#placeIn(chain, frame, isForeign)
      if (found) return found
    }
    const tip = { feed: root, length: frame.seq, hash: frame.previousHash }
    const isRooted = frame.seq === 0 || this.#options.holder(tip) !== undefined
    if (!isRooted && options.mayStartRun !== true) {
      refuse(frame, 'what it follows is not held here')
    }
    // A run that got no entry before its process died is nobody's branch.
    const isFirst = chains.every(({ head }) => head.length === 0)
    const chain = isFirst ? root : branchId(root, frame.hash)
    const isPlain = chain === root && frame.seq === 0 && !isForeign
    return newRun(chain, frame, isPlain)
  }

  /** Behind the end of a chain. */
  #placeIn(chain: FeedChain, frame: EntryFrame, isForeign: boolean): Target | undefined {
    const { head } = chain
    if (head.length !== frame.seq || head.hash !== frame.previousHash) return undefined
    const run = chain.runs.at(-1) as ChainRun
    if (run.isPlain && isForeign) return newRun(chain.name, frame, false)
    const isOwn = feedDevice(chain.name) === this.#options.device
    if (isOwn && !run.isPlain && !isForeign) refuse(frame, 'its feed is not written here any more')
    const { directory, file } = run
    const { start, previousHash } = file
    return { chain: chain.name, directory, start, previousHash, file }
  }
}

/** Adds a frame behind what this request or an earlier one of the group adds. */
function continues<Request>(
  frame: EntryFrame,
  staged: Map<string, Staged>,
  additions: ReadonlyMap<string, Addition<Request>>,
): boolean {
  const root = feedRoot(frame.feed)
  const isNext = (chain: FeedId, head: FeedHead): boolean =>
    feedRoot(chain) === root && head.length === frame.seq && head.hash === frame.previousHash
  for (const { target, head } of staged.values()) {
    if (!isNext(target.chain, head)) continue
    stage(frame, target, staged)
    return true
  }
  for (const addition of additions.values()) {
    if (staged.has(addition.directory) || !isNext(addition.chain, addition.head)) continue
    stage(frame, addition, staged)
    return true
  }
  return false
}

function stage(frame: EntryFrame, target: Target, staged: Map<string, Staged>): void {
  const head = { length: frame.seq + 1, hash: frame.hash }
  const mine = staged.get(target.directory) ?? { target, head, frames: [] }
  staged.set(target.directory, mine)
  mine.frames.push(frame)
  mine.head = head
}

function newRun(chain: FeedId, frame: EntryFrame, isPlain: boolean): Target {
  const { seq: start } = frame
  const previousHash = start === 0 ? NO_HASH : frame.previousHash
  const directory = runName(chain, start, isPlain)
  return { chain, directory, start, previousHash, file: undefined }
}

function refuse(frame: EntryFrame, why: string): never {
  throw new WormholeError('ENTRY_INVALID', `entry ${frame.seq} of feed ${frame.feed}: ${why}`)
}
