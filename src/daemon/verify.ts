/**
 * `wormhole verify`: checks everything that this device keeps of a volume, while it is in use, and
 * repairs what can be: damaged chunks are forgotten and fetched again, lost log entries are fetched
 * again, what follows from other files is made anew. What is left is named, with what it means and
 * what to do.
 */
import type { InodeId } from '../types.ts'
import type { Finding } from '../finding.ts'
import type { Clock } from '../system.ts'
import type { LackingContent } from './check-contents.ts'
import type { CheckNews, CheckPart } from './check-order.ts'
import type { OnProgress } from './frames.ts'
import type { FindingReport, VerifyReport } from './interface.ts'
import { waitOrAbort } from './sync-run.ts'

/** How long a repair waits for what peers have. */
const FETCH_MS_MAX = 60_000
const ENTRIES_MS_MAX = 20_000
/** Pause between two looks at what is missing. */
const LOOK_MS = 250

/** What verifying needs of a volume. */
export interface VerifyPorts {
  readonly clock: Clock
  /** Runs the checking process. */
  check(options: {
    /** Default: all. */
    parts?: readonly CheckPart[] | undefined
    signal: AbortSignal
    onNews: (news: CheckNews) => void
  }): Promise<void>
  /** Keys and settings. */
  checkHome(): Finding[]
  /** Writes keys and settings anew from what the running daemon knows. */
  restoreHome(): void
  /** Publishes everything pending: the journal is needed no more. */
  drain(): Promise<void>
  /** Takes damaged runs of the log apart and asks peers for what is missing. */
  repairLog(paths: readonly string[]): Promise<void>
  /** Entries of the log that are not here; empty when nothing is missing. */
  missingEntries(): Promise<Finding[]>
  /** Has chunks checked, and forgotten if they are damaged. */
  checkChunks(addresses: readonly string[]): Promise<void>
  hasChunk(address: string): boolean
  rewriteChunkIndex(): Promise<void>
  wantAgain(contents: readonly { inode: InodeId; version: string }[]): Promise<void>
  /** Fetches what is wanted, for at most so long. */
  fetch(options: { timeoutMs: number; signal: AbortSignal }): Promise<void>
  /** Asks every member for news; resolves with how many answered. */
  askPeers(options: { timeoutMs: number; signal: AbortSignal }): Promise<number>
  /** Builds index and shards anew from the log. */
  rebuild(options: { signal: AbortSignal; onProgress: OnProgress }): Promise<void>
}

/** What was found, while it is being worked on. */
interface Open {
  readonly finding: Finding
  readonly files: Set<string>
  isRepaired: boolean
}

/** See the head of this file. @throws {WormholeError} `ABORTED`, and what the ports throw. */
export async function runVerify(
  ports: VerifyPorts,
  options: {
    isRepair: boolean
    isRebuild: boolean
    parts?: readonly CheckPart[]
    signal: AbortSignal
  },
  onProgress: OnProgress,
): Promise<Omit<VerifyReport, 'volume' | 'name'>> {
  const startMs = ports.clock.monotonicMs()
  const run = new Run(ports, options.signal, onProgress)
  await run.check(options.parts)
  if (options.isRepair) await run.repair()
  let isRebuilt = false
  if (options.isRebuild || (options.isRepair && run.isIndexDamaged)) {
    await run.rebuild()
    isRebuilt = true
  }
  const findings = run.reports()
  return {
    isClean: findings.every(({ isRepaired }) => isRepaired),
    isRebuilt,
    findings,
    bytes: run.bytes,
    seconds: (ports.clock.monotonicMs() - startMs) / 1000,
  }
}

class Run {
  readonly #ports: VerifyPorts
  readonly #signal: AbortSignal
  readonly #onProgress: OnProgress
  readonly #found: Open[] = []
  readonly #lacking: LackingContent[] = []
  bytes = 0

  constructor(ports: VerifyPorts, signal: AbortSignal, onProgress: OnProgress) {
    this.#ports = ports
    this.#signal = signal
    this.#onProgress = onProgress
  }

  async check(parts?: readonly CheckPart[]): Promise<void> {
    for (const finding of this.#ports.checkHome()) this.#add(finding)
    await this.#ports.check({
      parts,
      signal: this.#signal,
      onNews: (news) => {
        if (news.type === 'progress') {
          this.bytes = news.done
          this.#onProgress(news)
        } else if (news.type === 'finding') {
          if (news.lacking) this.#lack(news.finding, news.lacking)
          else this.#add(news.finding)
        }
      },
    })
    for (const finding of await this.#ports.missingEntries()) this.#add(finding)
  }

  #add(finding: Finding): Open {
    const open = { finding, files: new Set<string>(), isRepaired: false }
    this.#found.push(open)
    return open
  }

  /** A file lacks chunks: a finding of its own, unless they were found damaged in the packs. */
  #lack(finding: Finding, lacking: LackingContent): void {
    this.#lacking.push(lacking)
    const addresses = new Set<string>(lacking.addresses)
    const known = this.#found.filter(({ finding: { part, address } }) => {
      return part === 'packs' && address !== undefined && addresses.has(address)
    })
    for (const open of known) open.files.add(lacking.path)
    if (known.length < addresses.size) this.#add(finding).files.add(lacking.path)
  }

  get isIndexDamaged(): boolean {
    return this.#found.some(({ finding }) => finding.part === 'index')
  }

  #of(part: Finding['part']): Open[] {
    return this.#found.filter(({ finding }) => finding.part === part)
  }

  async repair(): Promise<void> {
    this.#onProgress({ text: 'repairing', done: 0, total: 0 })
    if (this.#of('home').length > 0) this.#repairHome()
    if (this.#of('journal').length > 0) await this.#repairJournal()
    if (this.#of('log').length > 0) await this.#repairLog()
    if (this.#of('packs').length + this.#lacking.length > 0) await this.#repairChunks()
  }

  #repairHome(): void {
    this.#ports.restoreHome()
    const left = new Set(this.#ports.checkHome().map(({ path }) => path))
    for (const open of this.#of('home')) open.isRepaired = !left.has(open.finding.path)
  }

  /** What the journal held is in memory: once it is published, the damaged file is not needed. */
  async #repairJournal(): Promise<void> {
    await this.#ports.drain()
    for (const open of this.#of('journal')) open.isRepaired = true
  }

  async #repairLog(): Promise<void> {
    const paths = this.#of('log').flatMap(({ finding: { path } }) => path ?? [])
    await this.#ports.repairLog([...new Set(paths)])
    const left = await this.#missingAfterFetch()
    const told = this.#of('log')
    for (const open of told) {
      const { feed } = open.finding
      open.isRepaired = !left.some((finding) => finding.feed === feed)
    }
    for (const finding of left) {
      const isTold = told.some((open) => isSameRange(open.finding, finding))
      if (!isTold) this.#add(finding)
    }
  }

  /** What is still missing once peers had the time to bring it. */
  async #missingAfterFetch(): Promise<Finding[]> {
    const { clock } = this.#ports
    let left = await this.#ports.missingEntries()
    if (left.length === 0) return left
    const deadlineMs = clock.monotonicMs() + ENTRIES_MS_MAX
    const options = { timeoutMs: ENTRIES_MS_MAX, signal: this.#signal }
    const answered = await this.#ports.askPeers(options)
    for (;;) {
      left = await this.#ports.missingEntries()
      if (left.length === 0 || answered === 0 || clock.monotonicMs() > deadlineMs) return left
      this.#onProgress({ text: 'fetching lost entries', done: 0, total: 0 })
      await waitOrAbort(clock, LOOK_MS, this.#signal)
    }
  }

  async #repairChunks(): Promise<void> {
    const damaged = this.#of('packs')
    const addresses = damaged.flatMap(({ finding: { address } }) => address ?? [])
    await this.#ports.checkChunks(addresses)
    if (damaged.some(({ finding }) => finding.address === undefined)) {
      await this.#ports.rewriteChunkIndex()
    }
    await this.#ports.wantAgain(this.#lacking)
    if (this.#lacking.length > 0) {
      this.#onProgress({ text: 'fetching what is damaged', done: 0, total: 0 })
      await this.#ports.fetch({ timeoutMs: FETCH_MS_MAX, signal: this.#signal })
    }
    const isHere = new Map(
      this.#lacking.map(({ path, addresses: lost }) => {
        return [path, lost.every((address) => this.#ports.hasChunk(address))] as const
      }),
    )
    for (const open of [...damaged, ...this.#of('contents')]) {
      // A damaged chunk that no file uses is forgotten, and that is all it needs.
      open.isRepaired = [...open.files].every((file) => isHere.get(file) === true)
    }
  }

  async rebuild(): Promise<void> {
    await this.#ports.rebuild({ signal: this.#signal, onProgress: this.#onProgress })
    for (const open of this.#of('index')) open.isRepaired = true
  }

  reports(): FindingReport[] {
    return this.#found.map(({ finding, files, isRepaired }) => ({
      ...finding,
      ...(files.size > 0 && finding.part === 'packs' ? { files: [...files].sort() } : {}),
      ...meaningOf(finding, files.size),
      isRepaired,
    }))
  }
}

function isSameRange(a: Finding, b: Finding): boolean {
  return a.feed === b.feed && a.from === b.from && a.to === b.to
}

/** What a finding means for a person, and what to do about it. */
function meaningOf(
  { part, address }: Finding,
  fileCount: number,
): { consequence: string; advice: string } {
  const repair = 'run `wormhole verify --repair` while a device that has them is connected'
  switch (part) {
    case 'home':
      return {
        consequence: 'the volume does not open at the next start',
        advice: 'run `wormhole verify --repair` before the daemon stops',
      }
    case 'journal':
      return {
        consequence: 'edits that are not published yet would be lost if the daemon died now',
        advice: 'run `wormhole verify --repair`: it publishes what is pending',
      }
    case 'log':
      return {
        consequence: 'this device cannot pass these entries on; its tree is complete as it is',
        advice: repair,
      }
    case 'index':
      return {
        consequence: 'names or files may be missing from the tree',
        advice: 'run `wormhole verify --rebuild`',
      }
    case 'packs':
      if (address === undefined) {
        return {
          consequence: 'the next start takes longer: all packs are read',
          advice: 'run `wormhole verify --repair`',
        }
      }
      return fileCount === 0
        ? { consequence: 'none: no file here uses it', advice: repair }
        : { consequence: 'these files are read from other devices', advice: repair }
    case 'contents':
      return { consequence: 'the file is read from other devices, if they have it', advice: repair }
  }
}
