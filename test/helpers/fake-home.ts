/**
 * A `HomeHandle` in memory: one tree of files per volume and fixed reports, so that the control
 * socket and the command line can be tested without a real volume.
 */
import type { OnProgress } from '../../src/daemon/frames.ts'
import type {
  ConflictReport,
  CreatedReport,
  DeviceReport,
  ExplainReport,
  FileReport,
  FindingReport,
  GcReport,
  HomeHandle,
  PeerReport,
  PolicyCheckReport,
  ResolutionReport,
  RestoreOptions,
  RestoreReport,
  RevokeReport,
  SyncReport,
  TreeHandle,
  VerifyReport,
  VersionReport,
  VolumeHandle,
  VolumeStatus,
  WhereReport,
} from '../../src/daemon/interface.ts'
import type { HomeOptions } from '../../src/daemon/daemon.ts'
import type { ChangeReport, SinceOfflineReport } from '../../src/daemon/offline-interface.ts'
import { WormholeError } from '../../src/errors.ts'
import type { DeviceId, Role } from '../../src/types.ts'

import { FakePins } from './fake-pins.ts'

const TIME = '2026-11-20T14:03:22.000Z'
const PIECE_BYTES = 100_000

interface Node {
  readonly type: 'directory' | 'file' | 'symlink'
  readonly bytes: Buffer
  readonly mode: number
  readonly target?: string
}

/** One volume of the fake. Everything about it may be changed by a test. */
export class FakeVolume implements VolumeHandle, TreeHandle {
  /** Devices that `revoke` was called with. */
  readonly revoked: string[] = []
  readonly id: string
  readonly name: string
  mountpoint: string | undefined
  isClosed = false
  mountFailure: VolumeStatus['mountFailure']
  scrubbed: VolumeStatus['scrubbed']
  /** Whether `restoreMount` succeeds. */
  canMount = false
  /** How many pieces readers have taken and writers have given so far. */
  pieces = 0
  /** When set, `write` waits for it before each piece. */
  gate: Promise<void> | undefined
  /** Signals that requests were given. */
  readonly signals: AbortSignal[] = []
  conflictList: ConflictReport[] = []
  /** What was asked to be restored. */
  readonly restored: RestoreOptions[] = []
  readonly tree: TreeHandle = this
  readonly pins = new FakePins()
  /** What others changed; `sinceOffline` answers with the first of them. */
  changes: ChangeReport[] = []
  findings: FindingReport[] = []
  /** Why `gc` frees nothing. */
  postponed: string | undefined
  policyProblems: PolicyCheckReport['problems'] = []
  syncReport: SyncReport = {
    isInSync: true,
    members: [{ id: 'b'.repeat(64), name: 'bob', state: 'in-sync' }],
    missing: { files: 0, bytes: 0 },
    refused: [],
    seconds: 0.2,
  }
  readonly nodes = new Map<string, Node>([
    ['/', { type: 'directory', bytes: Buffer.alloc(0), mode: 0o755 }],
  ])

  constructor(name: string, id: string) {
    this.name = name
    this.id = id
  }

  /** Puts a file there, with the directories above it. */
  add(path: string, content: string | Buffer, mode = 0o644): void {
    const names = path.split('/').slice(1, -1)
    names.forEach((_name, index) => {
      const directory = `/${names.slice(0, index + 1).join('/')}`
      this.nodes.set(directory, { type: 'directory', bytes: Buffer.alloc(0), mode: 0o755 })
    })
    this.nodes.set(path, { type: 'file', bytes: Buffer.from(content), mode })
  }

  #node(path: string): Node {
    const node = this.nodes.get(path)
    if (!node) throw new WormholeError('NOT_FOUND', `there is no ${path}`)
    return node
  }

  #report(path: string): FileReport {
    const node = this.#node(path)
    return {
      name: path.slice(path.lastIndexOf('/') + 1),
      path,
      type: node.type,
      size: node.bytes.length,
      mode: node.mode,
      uid: 0,
      gid: 0,
      mtime: TIME,
      ...(node.target === undefined ? {} : { target: node.target }),
    }
  }

  async status(): Promise<VolumeStatus> {
    const files = [...this.nodes.values()].filter(({ type }) => type === 'file')
    return {
      id: this.id,
      name: this.name,
      role: 'admin',
      mountpoint: this.mountpoint,
      ...(this.mountFailure ? { mountFailure: this.mountFailure } : {}),
      ...(this.scrubbed ? { scrubbed: this.scrubbed } : {}),
      fileCount: files.length,
      pendingEdits: this.signals.filter(({ aborted }) => !aborted).length,
      missing: { files: 0, bytes: 0 },
      stored: { chunks: files.length, bytes: 1234 },
      peersConnected: 1,
      peersKnown: 2,
      conflicts: this.conflictList.length,
      activity: { requests: {}, records: {}, edits: 0, puts: 0, entries: 0 },
      problems: [],
    }
  }

  async devices(): Promise<DeviceReport[]> {
    const device = (name: string, isSelf: boolean): DeviceReport => ({
      id: name.padEnd(64, '0'),
      name,
      role: 'writer',
      isSelf,
      isConnected: isSelf,
      lastEntryAt: TIME,
      isInSync: true,
    })
    return [device('alice', true), device('bob', false)]
  }

  async peers(): Promise<PeerReport[]> {
    return [
      {
        id: 'b'.repeat(64),
        name: 'bob',
        routes: ['tls'],
        address: '127.0.0.1:4900',
        rttMs: 0.4,
        receiveBytesPerSecond: 5_000_000,
        sentBytes: 10,
        receivedBytes: 20,
        isInSync: true,
      },
    ]
  }

  async where(path: string): Promise<WhereReport> {
    const size = this.#node(path).bytes.length
    const holder = { device: 'a', name: 'alice', isSelf: true, chunks: 1, isComplete: true }
    return { path, size, chunks: 1, holders: [holder], unknown: ['carol'], copies: 1 }
  }

  async sync(
    options: { timeoutMs: number; require: number | undefined; signal: AbortSignal },
    onProgress: OnProgress,
  ): Promise<SyncReport> {
    this.signals.push(options.signal)
    onProgress({ text: 'asking', done: 1, total: 2 })
    // A timeout of an hour stands for a round that never ends.
    if (options.timeoutMs < 3_600_000) return this.syncReport
    return new Promise((_resolve, reject) => {
      options.signal.addEventListener('abort', () => reject(options.signal.reason as Error))
    })
  }

  async verify(
    options: { isRepair: boolean; isRebuild: boolean; signal: AbortSignal },
    onProgress: OnProgress,
  ): Promise<VerifyReport> {
    this.signals.push(options.signal)
    onProgress({ text: 'checking the log', done: 1, total: 2 })
    const findings = this.findings.map((finding) => ({ ...finding, isRepaired: options.isRepair }))
    return {
      volume: this.id,
      name: this.name,
      isClean: findings.every(({ isRepaired }) => isRepaired),
      isRebuilt: options.isRebuild,
      findings,
      bytes: 4096,
      seconds: 0.1,
    }
  }

  async gc(
    options: { isDryRun: boolean; signal: AbortSignal },
    onProgress: OnProgress,
  ): Promise<GcReport> {
    this.signals.push(options.signal)
    onProgress({ text: 'marking', done: 0, total: 0 })
    const nothing = { chunks: 0, bytes: 0 }
    const unused = { chunks: 3, bytes: 12_288 }
    const { postponed } = this
    const isFreed = !options.isDryRun && postponed === undefined
    return {
      volume: this.id,
      name: this.name,
      isDryRun: options.isDryRun,
      ...(postponed === undefined ? {} : { postponed }),
      referenced: {
        tree: { chunks: 2, bytes: 8192 },
        conflicts: nothing,
        history: { chunks: 1, bytes: 1024 },
        local: nothing,
      },
      young: nothing,
      unused,
      freed: isFreed ? unused : nothing,
      packsRemoved: 0,
      bytesNotReturned: 0,
      seconds: 0.1,
    }
  }

  async conflicts(path: string): Promise<ConflictReport[]> {
    return this.conflictList.filter((conflict) => conflict.path.startsWith(path))
  }

  async resolveConflict({
    path,
    keep,
  }: {
    path: string
    keep: string
  }): Promise<ConflictReport | undefined> {
    const found = this.conflictList.find((conflict) => conflict.path === path)
    if (!found) throw new WormholeError('NOT_FOUND', `${path} is not in conflict`)
    if (keep === '9') return found
    this.conflictList = this.conflictList.filter((conflict) => conflict !== found)
    return undefined
  }

  async resolveConflicts({ isPreview }: { isPreview: boolean }): Promise<ResolutionReport[]> {
    const found = this.conflictList.map((conflict) => ({ ...conflict, keeps: 1 }))
    if (!isPreview) this.conflictList = []
    return found
  }

  async restore(options: RestoreOptions): Promise<RestoreReport> {
    this.restored.push(options)
    const { path, isPreview } = options
    return { isPreview, items: [{ path, action: 'restored', size: 3 }] }
  }

  async history(path: string): Promise<VersionReport[]> {
    const size = this.#node(path).bytes.length
    return [{ version: 'v2', time: TIME, device: 'alice', size, state: 'current' }]
  }

  async policyCheck(): Promise<PolicyCheckReport> {
    return { isValid: this.policyProblems.length === 0, problems: this.policyProblems }
  }

  async policyExplain({ path }: { path: string; device?: string }): Promise<ExplainReport> {
    const reason = 'default' as const
    const value = { key: 'local.keep', value: 'always', from: 'default', reason, line: undefined }
    return { path, device: 'alice', values: [value], notes: [] }
  }

  async sinceOffline({ countMax }: { countMax: number }): Promise<SinceOfflineReport> {
    const counts = { new: 0, changed: 0, attributes: 0, renamed: 0, back: 0, deleted: 0 }
    for (const { kind } of this.changes) counts[kind]++
    return {
      volume: this.id,
      name: this.name,
      isConnected: true,
      away: { from: TIME, to: TIME },
      counts,
      isComplete: true,
      changes: this.changes.slice(0, countMax),
    }
  }

  async list(path: string): Promise<FileReport[]> {
    if (this.#node(path).type !== 'directory') return [this.#report(path)]
    const prefix = path === '/' ? '/' : `${path}/`
    const names = [...this.nodes.keys()].filter(
      (key) => key !== '/' && key.startsWith(prefix) && !key.slice(prefix.length).includes('/'),
    )
    return names.sort().map((key) => this.#report(key))
  }

  async *read(
    path: string,
    version: string | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    this.signals.push(signal)
    const { type, bytes } = this.#node(path)
    if (type === 'directory') throw new WormholeError('IS_DIRECTORY', `${path} is a directory`)
    const content = version === undefined ? bytes : Buffer.from(`version ${version}`)
    for (let at = 0; at < content.length; at += PIECE_BYTES) {
      this.pieces++
      yield content.subarray(at, at + PIECE_BYTES)
    }
  }

  async write(
    path: string,
    pieces: AsyncIterable<Uint8Array>,
    options: { mode?: number },
  ): Promise<FileReport> {
    const parent = path.slice(0, path.lastIndexOf('/')) || '/'
    if (this.#node(parent).type !== 'directory') {
      throw new WormholeError('NOT_A_DIRECTORY', `${parent} is not a directory`)
    }
    if (this.nodes.get(path)?.type === 'directory') {
      throw new WormholeError('IS_DIRECTORY', `${path} is a directory`)
    }
    const parts: Uint8Array[] = []
    for await (const piece of pieces) {
      await this.gate
      this.pieces++
      parts.push(Uint8Array.from(piece))
    }
    this.add(path, Buffer.concat(parts), options.mode ?? 0o644)
    return this.#report(path)
  }

  async makeDirectory(path: string): Promise<void> {
    if (this.nodes.has(path)) throw new WormholeError('ALREADY_EXISTS', `${path} is there already`)
    this.#node(path.slice(0, path.lastIndexOf('/')) || '/')
    this.nodes.set(path, { type: 'directory', bytes: Buffer.alloc(0), mode: 0o755 })
  }

  async remove(path: string, isRecursive: boolean): Promise<void> {
    if (this.#node(path).type === 'directory' && !isRecursive) {
      throw new WormholeError('IS_DIRECTORY', `${path} is a directory`)
    }
    for (const key of [...this.nodes.keys()]) {
      if (key === path || key.startsWith(`${path}/`)) this.nodes.delete(key)
    }
  }

  async createInvite(options: { role: Role; days: number; uses: number }): Promise<{
    invite: string
  }> {
    return { invite: `invite-${options.role}-${options.days}-${options.uses}` }
  }

  async revoke(device: DeviceId): Promise<RevokeReport> {
    const found = (await this.devices()).find(({ id }) => id === device)
    if (!found) throw new WormholeError('NOT_A_MEMBER', 'no member')
    this.revoked.push(device)
    return { volume: this.name, device: { id: device, name: found.name }, members: 2, admins: 1 }
  }

  async recoveryInvite(code: string): Promise<{ invite: string }> {
    if (code !== 'code-1') throw new WormholeError('BAD_ARGUMENT', 'not the recovery code')
    return { invite: 'invite-recovery' }
  }

  async mount(directory: string): Promise<{ mountpoint: string }> {
    this.mountpoint = directory
    return { mountpoint: directory }
  }

  async restoreMount(): Promise<void> {
    if (!this.canMount) return
    this.mountpoint = this.mountFailure?.directory
    this.mountFailure = undefined
  }

  async unmount(): Promise<void> {
    this.mountpoint = undefined
  }

  async close(): Promise<void> {
    this.isClosed = true
  }
}

/** A home of fakes; `create` and `join` add volumes. */
export class FakeHome implements HomeHandle {
  readonly home: string
  readonly device = { id: 'a'.repeat(64), name: 'alice' }
  readonly list: FakeVolume[] = []
  isClosed = false
  /** What the last `create` or `join` was given. */
  asked: object | undefined

  constructor(home: string) {
    this.home = home
  }

  /** Adds a volume. Its id is made from its number. */
  addVolume(name: string): FakeVolume {
    const volume = new FakeVolume(name, `${this.list.length + 1}`.repeat(64))
    this.list.push(volume)
    return volume
  }

  volumes(): FakeVolume[] {
    return this.list
  }

  async create(options: {
    name: string
    mount: string | undefined
    deviceName: string | undefined
    labels: Record<string, string>
  }): Promise<CreatedReport> {
    this.asked = options
    const volume = this.addVolume(options.name)
    volume.mountpoint = options.mount
    return {
      volume: volume.id,
      name: volume.name,
      device: options.deviceName ?? '',
      mountpoint: options.mount,
      invite: 'invite-1',
      recoveryCode: 'code-1',
    }
  }

  async join(
    options: {
      invite: string
      mount: string | undefined
      deviceName: string | undefined
      labels: Record<string, string>
      signal: AbortSignal
    },
    onProgress: OnProgress,
  ): Promise<CreatedReport> {
    const { signal: _signal, ...asked } = options
    this.asked = asked
    onProgress({ text: 'looking for a member', done: 0, total: 0 })
    if (options.invite === 'old') throw new WormholeError('INVITE_EXPIRED', 'the invite is too old')
    const volume = this.addVolume('joined')
    volume.mountpoint = options.mount
    const { id, name, mountpoint } = volume
    return { volume: id, name, device: options.deviceName ?? '', mountpoint }
  }

  async close(): Promise<void> {
    this.isClosed = true
  }
}

/**
 * Opens a fake home, as a daemon process in tests does. A file `fail-code` in the home makes it
 * fail with an error of its text, a file `fail-bug` with a bug; removing `/crash` is a bug outside
 * any call.
 */
export async function openFakeHome(options: HomeOptions): Promise<HomeHandle> {
  const failure = options.disk.readFileSync(`${options.home}/fail-code`)
  if (failure) throw new WormholeError('INDEX_CORRUPT', failure.toString())
  if (options.disk.readFileSync(`${options.home}/fail-bug`)) throw new TypeError('planted bug')
  const home = new FakeHome(options.home)
  const volume = home.addVolume('photos')
  volume.add('/hello.txt', 'hello\n')
  volume.add('/large', Buffer.alloc(20_000_000))
  const remove = volume.remove.bind(volume)
  volume.remove = (path, isRecursive) => {
    if (path !== '/crash') return remove(path, isRecursive)
    setImmediate(() => {
      throw new TypeError('planted crash')
    })
    return new Promise(() => {})
  }
  return home
}
