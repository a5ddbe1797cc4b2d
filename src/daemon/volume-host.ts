/**
 * One volume in the daemon: starts its threads, connects them to the swarm, and answers the control
 * socket. Lives on the main thread and never touches its own mount.
 *
 * Order of closing: swarm, fetch duty, threads.
 */
import os from 'node:os'
import { WormholeError, errorToData } from '../errors.ts'
import { encodeInvite } from '../log/invite.ts'
import { identityFromSeed, VolumeSecrets, type Identity } from '../log/keys.ts'
import { signingKeys } from '../seal.ts'
import { systemClock, systemRandom } from '../system.ts'
import { createNetwork } from '../swarm/network.ts'
import { Swarm } from '../swarm/swarm.ts'
import type { KnownAddresses, LogPort, MemberPort, NetworkOptions } from '../swarm/interface.ts'
import type { DeviceId, FeedHead, FeedId, Role, VolumeId } from '../types.ts'
import { FetchDuty } from './fetch-duty.ts'
import type { HomeFilesStore, VolumeSettings } from './home-files.ts'
import type {
  ConflictReport,
  DeviceReport,
  ExplainReport,
  FileReport,
  PeerReport,
  PolicyCheckReport,
  SyncReport,
  VersionReport,
  VolumeHandle,
  VolumeStatus,
  WhereReport,
} from './interface.ts'
import type { Logger } from './logging.ts'
import { ProblemList } from './problems.ts'
import { fileReport, whereReport } from './reports.ts'
import {
  volumePaths,
  type HeadEvent,
  type MembersData,
  type ProblemEvent,
  type ThreadData,
} from './threads.ts'
import { VolumeThreads } from './volume-threads.ts'

/** How long a joiner waits for the log after its admission. */
const ADMITTED_MS_MAX = 60_000

/** What a volume host needs. */
export interface VolumeHostOptions {
  readonly directory: string
  readonly files: HomeFilesStore
  readonly seed: Uint8Array
  readonly deviceName: string
  readonly network: NetworkOptions
  readonly logger: Logger
}

/** See the head of this file. */
export class VolumeHost implements VolumeHandle {
  readonly id: VolumeId
  readonly #options: VolumeHostOptions
  readonly #identity: Identity
  readonly #problems = new ProblemList(systemClock)
  #settings: VolumeSettings
  #members: MembersData
  #mountpoint: string | undefined
  #threads!: VolumeThreads
  #swarm!: Swarm
  #duty!: FetchDuty
  readonly #onMembers: (() => void)[] = []
  #isClosed = false

  private constructor(options: VolumeHostOptions, settings: VolumeSettings) {
    this.#options = options
    this.#settings = settings
    this.id = settings.id
    this.#identity = identityFromSeed(options.seed)
    this.#members = { volumeName: settings.name, role: undefined, members: [], invites: [] }
  }

  get name(): string {
    return this.#members.volumeName || this.#settings.name
  }

  /** Starts all threads and the network of the volume in `options.directory`; does not mount. */
  static async open(options: VolumeHostOptions): Promise<VolumeHost> {
    const host = new VolumeHost(options, options.files.settings(options.directory))
    try {
      await host.#start()
    } catch (error) {
      await host.close().catch((failure: unknown) => {
        options.logger.warn({ error: errorToData(failure) }, 'closing after a failed start')
      })
      throw error
    }
    return host
  }

  async #start(): Promise<void> {
    const { directory, files, seed, deviceName, network } = this.#options
    const encoded = files.secrets(directory)
    const secrets = VolumeSecrets.decode(encoded)
    const data: ThreadData = {
      volume: this.id,
      paths: volumePaths(directory),
      seed,
      deviceName,
      secrets: encoded,
    }
    this.#threads = await VolumeThreads.start(data, {
      generation: this.#settings.generation,
      fetch: (addresses, how) => this.#swarm.fetch(addresses, how),
      onMembers: (members) => this.#takeMembers(members),
      onWants: () => this.#duty?.poke(),
      onProblem: (problem) => this.#problem(problem),
      onUnmounted: (end) => {
        this.#options.logger.info({ ...end }, 'unmounted')
        this.#mountpoint = undefined
      },
      onDeath: (error) => {
        this.#options.logger.fatal({ error: errorToData(error) }, 'a thread of the volume died')
        this.#problem({
          code: 'BUG',
          message: `${error.message}; run \`wormhole down\` and \`up\``,
        })
      },
    })
    this.#duty = this.#createDuty()
    const members = this.#memberPort()
    const tlsPort = network.tlsPort || (this.#settings.tlsPort ?? 0)
    const { chunks } = this.#threads
    const { transports, beacon } = createNetwork({
      network: { ...network, tlsPort },
      keys: this.#identity.signing,
      topicKey: secrets.topics()[0] as Buffer,
      members,
      clock: systemClock,
    })
    this.#swarm = await Swarm.open({
      volume: this.id,
      device: this.#identity.device,
      log: this.#logPort(),
      members,
      chunks: {
        has: (address) => chunks.has(address),
        read: (address) => chunks.get(address),
        write: (address, sealed) => chunks.put(address, sealed),
      },
      clock: systemClock,
      random: systemRandom,
      transports,
      ...(beacon ? { beacon } : {}),
      addresses: this.#settings.addresses,
      onAddresses: (addresses) => this.#saveSettings({ addresses }),
      onPeer: () => this.#duty.poke(),
      onReport: (report) => this.#problem({ code: report.code, message: report.message }),
      networkFingerprint: () => JSON.stringify(os.networkInterfaces()),
    })
    this.#saveSettings({})
    this.#duty.poke()
  }

  #createDuty(): FetchDuty {
    const crdt = this.#threads.crdt
    return new FetchDuty({
      clock: systemClock,
      wants: (options) => crdt.call('wants', options),
      fetched: (keys) => crdt.call('fetched', keys),
      keeps: (inodes) => this.#threads.fs.call('keeps', inodes),
      has: (address) => this.#threads.chunks.has(address),
      fetch: (addresses, signal) =>
        this.#swarm.fetch(addresses, { priority: 'background', signal }),
      addresses: (content, signal) =>
        this.#threads.contents.addresses(content, { signal, priority: 'background' }),
      sync: () => this.#threads.chunks.sync(),
      hasPeers: () => this.#swarm.peers().some((peer) => peer.routes.length > 0),
      onProblem: (problem) => this.#problem(problem),
    })
  }

  #logPort(): LogPort {
    const rpc = this.#threads.crdt
    return {
      frontier: () => rpc.call('frontier', undefined),
      read: (feed, fromSeq, bytesMax) => rpc.call('read', { feed, fromSeq, bytesMax }),
      receive: (feed, frames) => rpc.call('receive', { feed, frames: [...frames] }),
      publish: () => this.#threads.fs.call('drain', undefined),
      onHead: (listener: (feed: FeedId, head: FeedHead) => void) => {
        rpc.on<HeadEvent>('head', ({ feed, head }) => listener(feed, head))
      },
    }
  }

  #memberPort(): MemberPort {
    return {
      isMember: (device) => this.#knownDevices().some((known) => known.device === device),
      devices: () => this.#knownDevices(),
      isOpenInvite: (inviteKey) => this.#openInvites().includes(inviteKey),
      openInvites: () => this.#openInvites(),
      admit: (request) => this.#threads.crdt.call('admit', request),
    }
  }

  /**
   * Members as the log says; a joiner that has no log yet takes the device that let it in, and those
   * it was told of, at their word until the log arrives.
   */
  #knownDevices(): { device: DeviceId; name: string }[] {
    const { members, role } = this.#members
    if (role !== undefined) return members.map(({ device, name }) => ({ device, name }))
    return this.#settings.addresses.map(({ device }) => ({ device, name: device.slice(0, 8) }))
  }

  #openInvites(): string[] {
    const nowMs = systemClock.nowMs()
    return this.#members.invites
      .filter((invite) => !invite.isRecovery && invite.expiresMs > nowMs && invite.usesLeft > 0)
      .map((invite) => invite.inviteKey)
  }

  #takeMembers(members: MembersData): void {
    this.#members = members
    this.#swarm?.membersChanged()
    for (const resolve of this.#onMembers.splice(0)) resolve()
  }

  #problem(problem: ProblemEvent): void {
    this.#options.logger.warn({ ...problem }, 'problem')
    this.#problems.add(problem)
  }

  #saveSettings(changes: Partial<VolumeSettings>): void {
    const tlsPort = Number(this.#swarm?.addresses()[0]?.split(':').pop() ?? 0)
    this.#settings = {
      ...this.#settings,
      name: this.name,
      ...(tlsPort > 0 ? { tlsPort } : {}),
      ...changes,
    }
    this.#options.files.saveSettings(this.#options.directory, this.#settings)
  }

  async status(): Promise<VolumeStatus> {
    const [counts, pendingEdits, conflicts, stored] = await Promise.all([
      this.#threads.fs.call('counts', undefined),
      this.#threads.fs.call('pendingEdits', undefined),
      this.#threads.fs.call('conflictCount', undefined),
      this.#threads.chunks.stats(),
    ])
    const peers = this.#swarm.peers()
    return {
      id: this.id,
      name: this.name,
      role: this.#members.role ?? 'reader',
      mountpoint: this.#mountpoint,
      fileCount: counts.files,
      pendingEdits,
      missing: this.#duty.missing,
      stored: { chunks: stored.chunkCount, bytes: stored.bytes },
      peersConnected: peers.filter((peer) => peer.routes.length > 0).length,
      peersKnown: peers.length,
      conflicts,
      problems: this.#problems.list(),
    }
  }

  async devices(): Promise<DeviceReport[]> {
    const peers = new Map(this.#swarm.peers().map((peer) => [peer.device, peer]))
    const last = await this.#threads.crdt.call('lastEntries', undefined)
    return this.#members.members.map(({ device, name, role }) => {
      const peer = peers.get(device)
      const isSelf = device === this.#identity.device
      return {
        id: device,
        name,
        role,
        isSelf,
        isConnected: isSelf || (peer?.routes.length ?? 0) > 0,
        lastEntryAt: last.get(device),
        isInSync: isSelf || (peer?.isInSync ?? false),
      }
    })
  }

  peers(): Promise<PeerReport[]> {
    const connected = this.#swarm.peers().filter((peer) => peer.routes.length > 0)
    return Promise.resolve(
      connected.map(({ device, routes, ...peer }) => ({
        id: device,
        routes: [...routes],
        ...peer,
      })),
    )
  }

  async where(path: string): Promise<WhereReport> {
    const { sizeBytes, addresses } = await this.#threads.fs.call('addresses', path)
    const holders = await this.#swarm.where(addresses, { timeoutMs: 5000 })
    const self = { device: this.#identity.device, name: this.#options.deviceName }
    return whereReport({
      path,
      sizeBytes,
      own: { ...self, has: addresses.map((address) => this.#threads.chunks.has(address)) },
      holders,
      members: this.#members.members,
    })
  }

  async sync(
    options: { timeoutMs: number; require: number | undefined; signal: AbortSignal },
    onProgress: (progress: { text: string; done: number; total: number }) => void,
  ): Promise<SyncReport> {
    const startMs = systemClock.monotonicMs()
    const { signal } = options
    onProgress({ text: 'publishing', done: 0, total: 0 })
    await this.#threads.fs.call('drain', undefined)
    onProgress({ text: 'asking every device', done: 0, total: 0 })
    const answers = await this.#swarm.syncRound({ timeoutMs: options.timeoutMs, signal })
    await this.#threads.crdt.call('settled', undefined)
    const deadlineMs = startMs + options.timeoutMs
    this.#duty.poke()
    const total = this.#duty.missing.files
    const timer = setInterval(() => {
      const { files } = this.#duty.missing
      onProgress({ text: 'fetching', done: Math.max(0, total - files), total })
    }, 250)
    try {
      const leftMs = Math.max(0, deadlineMs - systemClock.monotonicMs())
      await Promise.race([this.#duty.idle(), waitOrAbort(leftMs, signal)])
    } finally {
      clearInterval(timer)
    }
    const missing = this.#duty.missing
    const answered = answers.filter((answer) => answer.state === 'in-sync').length
    const isEnough = options.require === undefined || answered >= options.require
    const isTimedOut = answers.some((answer) => answer.state === 'timeout')
    return {
      isInSync: isEnough && !isTimedOut && missing.files === 0,
      members: answers.map(({ device, name, state }) => ({ id: device, name, state })),
      missing,
      seconds: (systemClock.monotonicMs() - startMs) / 1000,
    }
  }

  conflicts(path: string): Promise<ConflictReport[]> {
    return this.#threads.fs.call('conflicts', path)
  }

  async resolveConflict(path: string, keep: number | 'both'): Promise<ConflictReport | undefined> {
    const before = (await this.conflicts(path))[0]
    await this.#threads.fs.call('resolveConflict', { path, keep })
    return before
  }

  history(path: string): Promise<VersionReport[]> {
    return this.#threads.fs.call('history', path)
  }

  policyCheck(path: string): Promise<PolicyCheckReport> {
    return this.#threads.fs.call('policyCheck', path)
  }

  policyExplain(path: string): Promise<ExplainReport> {
    return this.#threads.fs.call('policyExplain', path)
  }

  async list(path: string): Promise<FileReport[]> {
    const entry = await this.#threads.fs.call('stat', { path, follow: true })
    const entries = entry.type === 'directory' ? await this.#threads.fs.call('list', path) : [entry]
    return entries.map(fileReport)
  }

  async *read(
    path: string,
    version: string | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const rpc = this.#threads.fs
    const content =
      version === undefined ? undefined : await rpc.call('versionContent', { path, version })
    const id = await rpc.call('openRead', content ? { path, content } : { path })
    try {
      for (;;) {
        const piece = await rpc.call('readPiece', id, { signal })
        if (!piece) return
        yield piece
      }
    } finally {
      await rpc.call('closeRead', id)
    }
  }

  async write(
    path: string,
    pieces: AsyncIterable<Uint8Array>,
    options: { mode?: number },
  ): Promise<FileReport> {
    const rpc = this.#threads.fs
    const id = await rpc.call('openWrite', { path, ...options })
    try {
      for await (const piece of pieces) await rpc.call('writePiece', { id, bytes: piece })
    } catch (error) {
      await rpc.call('abortWrite', id)
      throw error
    }
    return fileReport(await rpc.call('finishWrite', id))
  }

  makeDirectory(path: string): Promise<void> {
    return this.#threads.fs.call('makeDirectory', path)
  }

  remove(path: string, isRecursive: boolean): Promise<void> {
    return this.#threads.fs.call('remove', { path, isRecursive })
  }

  async createInvite(options: {
    role: Role
    days: number
    uses: number
  }): Promise<{ invite: string }> {
    if (this.#members.role !== 'admin') {
      throw new WormholeError(
        'NOT_PERMITTED',
        'only an admin of the volume makes invites; run this on an admin device',
      )
    }
    const seed = systemRandom.bytes(32)
    await this.#threads.crdt.call('write', [
      {
        type: 'invite',
        inviteKey: signingKeys(seed).publicKey,
        role: options.role,
        expiresMs: systemClock.nowMs() + options.days * 24 * 3600 * 1000,
        usesMax: options.uses,
      },
    ])
    const { bootstrap } = this.#options.network
    const invite = encodeInvite({
      volume: this.id,
      seed,
      bootstrap: typeof bootstrap === 'string' ? [] : bootstrap.slice(0, 4),
      addresses: this.#swarm.addresses().slice(0, 8),
    })
    return { invite }
  }

  async mount(directory: string): Promise<{ mountpoint: string }> {
    if (this.#mountpoint !== undefined) {
      if (this.#mountpoint === directory) return { mountpoint: directory }
      throw new WormholeError('ALREADY_EXISTS', `already mounted at ${this.#mountpoint}`)
    }
    const { repairStale } = await import('../vfs/fuse/mount.ts')
    if (await repairStale(directory, systemClock)) {
      this.#options.logger.info({ directory }, 'removed a dead mount')
    }
    const fsName = `wormhole-${this.name}`
    const { mountpoint } = await this.#threads.fs.call('mount', { directory, fsName })
    this.#mountpoint = mountpoint
    this.#saveSettings({ mountpoint: directory })
    return { mountpoint }
  }

  async unmount(): Promise<void> {
    await this.#threads.fs.call('unmount', undefined)
    this.#mountpoint = undefined
  }

  /** Where it is mounted now. */
  get mountpoint(): string | undefined {
    return this.#mountpoint
  }

  /** Says in the log what this device is (`region=eu`). */
  async setLabels(labels: Readonly<Record<string, string>>): Promise<void> {
    await this.#threads.crdt.call('write', [{ type: 'labels', labels }])
  }

  /**
   * After joining: resolves when the log here says that this device is a member, so that it may
   * write. @throws {WormholeError} `TIMEOUT`, `ABORTED`.
   */
  async admitted(options: { signal: AbortSignal }): Promise<void> {
    const deadlineMs = systemClock.monotonicMs() + ADMITTED_MS_MAX
    while (this.#members.role === undefined) {
      if (systemClock.monotonicMs() > deadlineMs) {
        throw new WormholeError(
          'TIMEOUT',
          'admitted, but the log of the volume did not arrive; `wormhole up` goes on with it',
        )
      }
      await Promise.race([
        new Promise<void>((resolve) => this.#onMembers.push(resolve)),
        waitOrAbort(1000, options.signal),
      ])
    }
  }

  /** Where `up` mounts this volume; undefined: nowhere. */
  get wantedMountpoint(): string | undefined {
    return this.#settings.mountpoint
  }

  /** Notes a problem of this volume for `status`. */
  report(error: unknown): void {
    const { code, message } = errorToData(error)
    this.#problem({ code, message })
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    const steps = [
      () => this.#swarm?.close(),
      () => this.#duty?.close(),
      () => this.#threads?.close(),
    ]
    const errors: unknown[] = []
    for (const step of steps) {
      try {
        await step()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, `closing volume ${this.id}`)
  }

  /** The device that this host speaks for. */
  get device(): DeviceId {
    return this.#identity.device
  }
}

/** Resolves after `ms`; rejects with `ABORTED` when the signal fires. */
function waitOrAbort(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = systemClock.setTimer(ms, resolve)
    signal.addEventListener(
      'abort',
      () => {
        timer.cancel()
        reject(new WormholeError('ABORTED', 'sync was interrupted'))
      },
      { once: true },
    )
  })
}
