/**
 * One volume in the daemon: starts its threads, connects them to the swarm, and answers the control
 * socket. Lives on the main thread and never touches its own mount.
 *
 * Order of closing: swarm, who was connected, fetch duty, threads.
 */
import { WormholeError, errorToData } from '../errors.ts'
import { identityFromSeed, VolumeSecrets, type Identity } from '../log/keys.ts'
import { systemClock, systemRandom } from '../system.ts'
import { meetAt } from '../swarm/meeting.ts'
import type { Swarm } from '../swarm/swarm.ts'
import type { Admission, NetworkOptions } from '../swarm/interface.ts'
import type { DeviceId, Role, VolumeId } from '../types.ts'
import type { Absence } from './absence.ts'
import { CareRuns } from './care-runs.ts'
import type { FetchDuty } from './fetch-duty.ts'
import type { HomeFilesStore, VolumeSettings } from './home-files.ts'
import type {
  DeviceReport,
  FileReport,
  PeerReport,
  RevokeReport,
  SyncReport,
  VolumeHandle,
  VolumeStatus,
  WhereReport,
} from './interface.ts'
import { createInvite, recoveryInvite, type InvitePorts } from './invites.ts'
import type { Logger } from './logging.ts'
import { createMemberPort, NO_MEMBERS, revoke, revokedProblem } from './membership.ts'
import type { Membership } from './membership.ts'
import type { SinceOfflineReport } from './offline-interface.ts'
import { ProblemList, isRefusal } from './problems.ts'
import {
  deviceReports,
  fileReport,
  peerReports,
  sinceOfflineReport,
  whereReport,
} from './reports.ts'
import { runSync, waitOrAbort } from './sync-run.ts'
import { volumePaths, type MembersData, type ProblemEvent, type ThreadData } from './threads.ts'
import { treeHandle } from './tree-handle.ts'
import { readFile, writeFile } from './volume-files.ts'
import {
  createAbsence,
  createFetchDuty,
  createLogPort,
  createPinBoard,
  createSnapshotPort,
  isConnected,
} from './volume-ports.ts'
import { VolumeMount } from './volume-mount.ts'
import { VolumeThreads } from './volume-threads.ts'
import type { OwnerChoice } from '../vfs/interface.ts'

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
  #data: ThreadData
  #settings: VolumeSettings
  #members: MembersData
  #threads!: VolumeThreads
  #swarm!: Swarm
  #duty!: FetchDuty
  #absence!: Absence
  readonly #care = new CareRuns(() => this.#careParts())
  readonly #mount: VolumeMount
  readonly #onMembers: (() => void)[] = []
  readonly tree = treeHandle(() => this.#threads.fs)
  readonly pins = createPinBoard({
    settings: () => this.#settings,
    save: (changes) => this.#saveSettings(changes),
    threads: () => this.#threads,
    duty: () => this.#duty,
    swarm: () => this.#swarm,
  })
  #meetAt: (topicKeys: readonly Uint8Array[]) => void = () => {}
  #isClosed = false

  private constructor(options: VolumeHostOptions, settings: VolumeSettings) {
    this.#options = options
    this.#settings = settings
    this.id = settings.id
    const { directory, files, seed, deviceName } = options
    const secrets = files.secrets(directory)
    this.#data = { volume: this.id, paths: volumePaths(directory), seed, deviceName, secrets }
    this.#identity = identityFromSeed(options.seed)
    this.#members = { ...NO_MEMBERS, volumeName: settings.name }
    this.#mount = new VolumeMount({
      clock: systemClock,
      logger: options.logger,
      fs: () => this.#threads.fs,
      name: () => this.name,
      settings: () => this.#settings,
      save: (changes) => this.#saveSettings(changes),
      report: (error) => this.report(error),
      isClosed: () => this.#isClosed,
    })
  }

  get name(): string {
    return this.#members.volumeName || this.#settings.name
  }

  /** Starts all threads and the network of the volume in `options.directory`; does not mount. */
  static async open(options: VolumeHostOptions): Promise<VolumeHost> {
    const host = new VolumeHost(options, options.files.settings(options.directory))
    try {
      await host.#start()
      host.#care.start(options.logger)
    } catch (error) {
      await host.close().catch((failure: unknown) => {
        options.logger.warn({ error: errorToData(failure) }, 'closing after a failed start')
      })
      throw error
    }
    return host
  }

  async #start(): Promise<void> {
    const { network } = this.#options
    const data = this.#data
    // What the journal brings back may need a chunk before the network is up.
    let onNetwork!: () => void
    const isUp = new Promise<void>((resolve) => (onNetwork = resolve))
    const starting = VolumeThreads.start(data, {
      generation: this.#settings.generation,
      guide: this.#settings.admittedBy,
      policySuspects: this.#settings.policySuspects ?? [],
      pins: (this.#settings.pins ?? []).map(({ inode }) => inode),
      fetch: (addresses, how) => isUp.then(() => this.#swarm.fetch(addresses, how)),
      onMembers: (members) => this.#takeMembers(members),
      onKeys: (secrets) => (this.#data = { ...this.#data, secrets }),
      onWants: ({ keys }) => (keys ? this.#duty?.add(keys) : this.#duty?.poke()),
      onPolicySuspects: (policySuspects) => this.#saveSettings({ policySuspects }),
      onProblem: (problem) => this.#problem(problem),
      onUnmounted: (end) => this.#mount.ended(end),
      onDeath: (error) => {
        this.#options.logger.fatal({ error: errorToData(error) }, 'a thread of the volume died')
        this.#problem({
          code: 'BUG',
          message: `${error.message}; run \`wormhole down\` and \`up\``,
        })
      },
    })
    // The code of the network is loaded while the threads load theirs.
    const [threads, { createNetwork, networkFingerprint }, { Swarm }] = await Promise.all([
      starting,
      import('../swarm/network.ts'),
      import('../swarm/swarm.ts'),
    ])
    this.#threads = threads
    this.#duty = createFetchDuty(this.#threads, {
      swarm: () => this.#swarm,
      onProblem: (problem) => this.#problem(problem),
    })
    this.#absence = createAbsence(threads, {
      state: this.#settings.absence,
      save: (changes) => this.#saveSettings(changes),
      onProblem: (problem) => this.#problem(problem),
    })
    const members = createMemberPort(() => this.#membership(), this.#options.logger)
    const tlsPortLast = this.#settings.tlsPort
    const { chunks } = threads
    const ways = await createNetwork({
      network: { ...network, ...(tlsPortLast ? { tlsPortLast } : {}) },
      keys: this.#identity.signing,
      topicKeys: this.#members.meeting,
      members,
      clock: systemClock,
    })
    this.#swarm = await Swarm.open({
      volume: this.id,
      device: this.#identity.device,
      log: createLogPort(this.#threads),
      snapshots: createSnapshotPort(this.#threads),
      members,
      chunks: {
        has: (address) => chunks.has(address),
        read: (address) => chunks.get(address),
        write: (address, sealed) => chunks.put(address, sealed),
      },
      clock: systemClock,
      random: systemRandom,
      ...ways,
      addresses: this.#settings.addresses,
      onAddresses: (addresses) => this.#saveSettings({ addresses }),
      onPeer: () => {
        this.#absence.connected()
        this.#duty.retry()
      },
      onAlone: () => this.#absence.alone(),
      onReport: (report) => this.#problem({ code: report.code, message: report.message }),
      networkFingerprint,
    })
    this.#meetAt = (topicKeys) => meetAt(ways, topicKeys)
    this.#meetAt(this.#members.meeting)
    onNetwork()
    this.#saveSettings({})
    this.#duty.poke()
  }

  #membership(): Membership {
    const { addresses, isReadmitted = false } = this.#settings
    return { members: this.#members, addresses, isReadmitted, crdt: this.#threads.crdt }
  }

  #takeMembers(members: MembersData): void {
    this.#members = members
    if (this.#settings.isReadmitted && members.role) this.#saveSettings({ isReadmitted: false })
    this.#meetAt(members.meeting)
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
    const [counts, published, pendingEdits, conflicts, policyProblems, stored] = await Promise.all([
      this.#threads.fs.call('counts', undefined),
      this.#threads.crdt.call('published', undefined),
      this.#threads.fs.call('pendingEdits', undefined),
      this.#threads.fs.call('conflictCount', undefined),
      this.#threads.fs.call('policyProblems', undefined),
      this.#threads.chunks.stats(),
    ])
    const peers = this.#swarm.peers()
    return {
      id: this.id,
      name: this.name,
      role: this.#members.role ?? 'reader',
      ...(this.#members.revokedBy ? { revokedBy: this.#members.revokedBy } : {}),
      ...this.#mount.status,
      fileCount: counts.files,
      pendingEdits,
      missing: this.#duty.missing,
      stored: { chunks: stored.chunkCount, bytes: stored.bytes },
      ...this.#care.status(),
      peersConnected: peers.filter((peer) => peer.routes.length > 0).length,
      peersKnown: peers.length,
      conflicts,
      activity: { requests: counts.requests, records: counts.records, ...published },
      problems: [...revokedProblem(this.#members), ...this.#problems.list(), ...policyProblems],
    }
  }

  async devices(): Promise<DeviceReport[]> {
    const last = await this.#threads.crdt.call('lastEntries', undefined)
    const members = await this.#threads.crdt.call('members', undefined)
    return deviceReports({ ...members, self: this.device, peers: this.#swarm.peers(), last })
  }

  peers(): Promise<PeerReport[]> {
    return Promise.resolve(peerReports(this.#swarm.peers()))
  }

  async where(path: string): Promise<WhereReport> {
    const found = await this.#threads.fs.call('addresses', path)
    const holders = await this.#swarm.where(found.addresses, { timeoutMs: 5000 })
    const { device } = this.#identity
    const has = found.addresses.map((address) => this.#threads.chunks.has(address))
    const own = { device, name: this.#options.deviceName, has }
    return whereReport({ ...found, path, own, holders, members: this.#members.members })
  }

  sync(
    options: { timeoutMs: number; require: number | undefined; signal: AbortSignal },
    onProgress: Parameters<VolumeHandle['sync']>[1],
  ): Promise<SyncReport> {
    const { fs, crdt } = this.#threads
    return runSync(
      {
        clock: systemClock,
        drain: () => fs.call('drain', undefined),
        syncRound: (how) => this.#swarm.syncRound(how),
        settled: () => crdt.call('settled', undefined),
        duty: this.#duty,
        peers: () => this.#swarm.peers(),
        refused: () => this.#problems.list().filter(isRefusal),
      },
      options,
      onProgress,
    )
  }

  async sinceOffline({ countMax }: { countMax: number }): Promise<SinceOfflineReport> {
    const state = await this.#absence.state()
    const since = new Map(state?.last?.had ?? [])
    const answer = state?.last && (await this.#threads.fs.call('changesSince', { since, countMax }))
    const about = { volume: this.id, name: this.name, members: this.#members }
    return sinceOfflineReport({ ...about, isConnected: isConnected(this.#swarm), state, answer })
  }

  async list(path: string): Promise<FileReport[]> {
    const entry = await this.#threads.fs.call('stat', { path, follow: true })
    const entries = entry.type === 'directory' ? await this.#threads.fs.call('list', path) : [entry]
    return entries.map(fileReport)
  }

  read(path: string, version: string | undefined, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    return readFile(this.#threads.fs, path, version, signal)
  }

  write(
    path: string,
    pieces: AsyncIterable<Uint8Array>,
    options: { mode?: number },
  ): Promise<FileReport> {
    return writeFile(this.#threads.fs, path, pieces, options)
  }

  makeDirectory(path: string): Promise<void> {
    return this.#threads.fs.call('makeDirectory', path)
  }

  remove(path: string, isRecursive: boolean): Promise<void> {
    return this.#threads.fs.call('remove', { path, isRecursive })
  }

  createInvite(options: { role: Role; days: number; uses: number }): Promise<{ invite: string }> {
    return createInvite(this.#invitePorts(), options)
  }

  recoveryInvite(code: string): Promise<{ invite: string }> {
    return Promise.resolve(recoveryInvite(this.#invitePorts(), code))
  }

  async revoke(device: DeviceId): Promise<RevokeReport> {
    const report = await revoke(() => this.#membership(), this.name, device)
    await this.#threads.keysTaken()
    return report
  }

  #invitePorts(): InvitePorts {
    return {
      volume: this.id,
      members: this.#members,
      network: this.#options.network,
      addresses: () => this.#swarm.addresses(),
      write: (control) => this.#threads.crdt.call('write', control),
    }
  }

  verify: VolumeHandle['verify'] = async (options, onProgress) => {
    const report = await this.#care.verify(options, onProgress)
    return { volume: this.id, name: this.name, ...report }
  }

  gc: VolumeHandle['gc'] = async (options, onProgress) => {
    const report = await this.#care.gc(options, onProgress)
    return { volume: this.id, name: this.name, ...report }
  }

  #careParts() {
    const { directory, files } = this.#options
    return {
      directory,
      files,
      data: this.#data,
      settings: this.#settings,
      threads: this.#threads,
      swarm: this.#swarm,
      duty: this.#duty,
      restart: (between: () => void) => this.#restart(between),
    }
  }

  /** Stops everything, lets `between` work on the files, and goes on as before. */
  async #restart(between: () => void): Promise<void> {
    const { mountpoint } = this
    await this.#stop()
    between()
    await this.#start()
    if (mountpoint !== undefined) await this.mount(mountpoint)
  }

  mount(directory: string, owner?: OwnerChoice): Promise<{ mountpoint: string }> {
    return this.#mount.mount(directory, owner)
  }

  unmount(): Promise<void> {
    return this.#mount.unmount()
  }

  restoreMount(): Promise<void> {
    return this.#mount.restore()
  }

  /** Where it is mounted now. */
  get mountpoint(): string | undefined {
    return this.#mount.mountpoint
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
        waitOrAbort(systemClock, 1000, options.signal),
      ])
    }
  }

  /** Whether this device was revoked, and not let in again. */
  get isRevoked(): boolean {
    return this.#members.revokedBy !== undefined
  }

  /** After a new admission: goes on with what it brought, as a joiner. */
  readmit(secrets: Uint8Array, { addresses, member }: Admission): Promise<void> {
    const merged = VolumeSecrets.decode(this.#data.secrets).merge(VolumeSecrets.decode(secrets))
    this.#data = { ...this.#data, secrets: merged.encode() }
    return this.#restart(() => {
      this.#options.files.saveSecrets(this.#options.directory, this.#data.secrets)
      this.#saveSettings({ addresses, admittedBy: member, isReadmitted: true })
    })
  }

  /** Notes a problem of this volume for `status`. */
  report(error: unknown): void {
    const { code, message } = errorToData(error)
    this.#problem({ code, message })
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#care.close()
    await this.#stop()
  }

  async #stop(): Promise<void> {
    const steps = [
      () => this.#swarm?.close(),
      () => this.#absence?.close(),
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
