/**
 * One run of the daemon of a simulated device: production log, tree, file system, chunk store and
 * swarm, put together as `src/daemon` does it for its threads. Only the ports differ: disk, index
 * and network are in memory, time and chance come from the simulation. The threads are one thread
 * here, with channels between them that copy and delay.
 *
 * A daemon does not end by itself: its process dies (and nothing of it has any effect then), or it
 * is closed.
 */
import { PackCollection } from '../../src/chunks/collection.ts'
import { ChunkKeyRing, type ChunkKeysData } from '../../src/chunks/keys.ts'
import { LocalContents } from '../../src/chunks/content.ts'
import type { ContentStore } from '../../src/chunks/interface.ts'
import { PackWriter } from '../../src/chunks/packs.ts'
import { Overlay } from '../../src/crdt/overlay.ts'
import type { Edit, TreeDelta } from '../../src/crdt/interface.ts'
import type { MemoryRowStore } from '../../src/crdt/memory.ts'
import type { WantsQuery } from '../../src/crdt/wants.ts'
import { TreeWriter } from '../../src/crdt/writer.ts'
import { FetchDuty } from '../../src/daemon/fetch-duty.ts'
import { runGc, type GcOutcome } from '../../src/daemon/gc.ts'
import { byUse, GcRoots } from '../../src/daemon/gc-roots.ts'
import { knownDevices } from '../../src/daemon/membership.ts'
import { Snapshots } from '../../src/daemon/snapshots.ts'
import { historyDaysOf, keptUpTo, strategyOf } from '../../src/daemon/strategy.ts'
import {
  chunkKeysData,
  type DeltaEvent,
  type HeadEvent,
  type WantsEvent,
} from '../../src/daemon/threads.ts'
import { createSnapshotPort } from '../../src/daemon/volume-ports.ts'
import { errorToData } from '../../src/errors.ts'
import { createActor } from '../../src/log/actors.ts'
import { DiskFeedStore } from '../../src/log/feeds.ts'
import type { FeedTip } from '../../src/log/interface.ts'
import { describeDamage, DiskJournal } from '../../src/log/journal.ts'
import { describeFeedDamage } from '../../src/log/salvage.ts'
import { KeyRing } from '../../src/log/key-ring.ts'
import { VolumeSecrets, type Identity } from '../../src/log/keys.ts'
import { parsePolicy } from '../../src/policy/parse.ts'
import { Rpc, type Handlers } from '../../src/rpc.ts'
import { sealToBox } from '../../src/seal.ts'
import type {
  AdmissionRequest,
  KnownAddresses,
  LogPort,
  MemberPort,
} from '../../src/swarm/interface.ts'
import type { MemoryNetwork } from '../../src/swarm/memory.ts'
import { Swarm } from '../../src/swarm/swarm.ts'
import { HybridClock, type Clock, type Disk, type Random } from '../../src/system.ts'
import {
  feedId,
  type DeviceId,
  type FeedId,
  type InodeId,
  type Role,
  type VolumeId,
} from '../../src/types.ts'
import type { Turns } from '../../src/log/turns.ts'
import { Vfs } from '../../src/vfs/vfs.ts'
import { Volume } from '../../src/volume.ts'
import { createChannel, type ChannelOptions } from './channel.ts'
import { gcPorts } from './gc-ports.ts'
import type { MortalRows } from '../helpers/mortal-rows.ts'
import { SeededRandom } from '../helpers/sim-clock.ts'

/** What a home remembers beside log, journal, packs and index. */
export interface HomeFiles {
  readonly volume: VolumeId
  secrets: Uint8Array
  readonly admittedBy?: DeviceId
  addresses: readonly KnownAddresses[]
}

/** A bug planted into a daemon, to see that a checker finds it. */
export interface Plant {
  disk?(disk: Disk): Disk
  tree?(tree: TreeWriter, isAlive: () => boolean): TreeWriter
  contents?(contents: ContentStore): ContentStore
  log?(log: LogPort): LogPort
  /** After the volume is open. */
  turns?(turns: Turns): void
}

/** What a daemon runs on. */
export interface DaemonOptions {
  readonly name: string
  readonly identity: Identity
  /** Its machine, as the network calls it. */
  readonly host: string
  readonly home: HomeFiles
  readonly disk: Disk
  readonly rows: MortalRows
  /** The same index, for readers. */
  readonly index: MemoryRowStore
  /** An older one that knows what the log lost. */
  readonly lost: MemoryRowStore | undefined
  readonly clock: Clock
  readonly random: Random
  readonly channel: ChannelOptions
  readonly network: MemoryNetwork
  /** Newcomers take snapshots, of any size. */
  readonly hasSnapshots: boolean
  /** What is missing in the middle of a feed is fetched. */
  readonly hasBackfill: boolean
  readonly plant: Plant
  readonly isAlive: () => boolean
  onProblem(problem: { code: string; message: string }): void
  /** The index has moved on. */
  onDelta(delta: TreeDelta, coveredTo: number): void
}

/** See the head of this file. */
export class SimDaemon {
  readonly #options: DaemonOptions
  readonly keys: KeyRing
  readonly #chunkKeys: ChunkKeyRing
  /** Commits that its file system has not heard of yet. */
  deltasUnderWay = 0
  /** As its file system knows it. */
  role: Role | undefined
  feeds!: DiskFeedStore
  volume!: Volume
  tree!: TreeWriter
  store!: PackWriter
  #collection!: PackCollection
  #main!: { readonly crdt: Rpc; readonly fs: Rpc }
  contents!: ContentStore
  overlay!: Overlay
  vfs!: Vfs
  swarm!: Swarm
  duty!: FetchDuty
  snapshots: Snapshots | undefined
  /** The swarm, once it is open: unpublished files may need chunks before. */
  readonly #network: Promise<Swarm>
  #onNetwork!: (swarm: Swarm) => void
  readonly #hlc: { readonly crdt: HybridClock; readonly fs: HybridClock }

  private constructor(options: DaemonOptions) {
    this.#options = options
    this.#network = new Promise((resolve) => (this.#onNetwork = resolve))
    const { home, identity, isAlive } = options
    const secrets = VolumeSecrets.decode(home.secrets)
    this.#chunkKeys = new ChunkKeyRing(chunkKeysData(secrets))
    this.keys = new KeyRing({
      secrets,
      box: identity.box,
      // One atomic file: a process that is dead has not written it.
      save: (bytes) => {
        if (isAlive()) home.secrets = bytes
      },
      onChange: () => this.#chunkKeys.update(this.#chunkKeysNow()),
    })
    this.#hlc = { crdt: new HybridClock(options.clock), fs: new HybridClock(options.clock) }
  }

  #chunkKeysNow(): ChunkKeysData {
    return chunkKeysData(this.keys.secrets, this.keys.currentGeneration)
  }

  /** Starts everything, in the order of the daemon's threads. */
  static async start(options: DaemonOptions): Promise<SimDaemon> {
    const daemon = new SimDaemon(options)
    const [crdtToFs, fsToCrdt] = createChannel(options.channel)
    const [crdtToMain, mainToCrdt] = createChannel(options.channel)
    const [fsToMain, mainToFs] = createChannel(options.channel)
    daemon.#openStore()
    await daemon.#openVolume(crdtToFs, crdtToMain)
    const fs = new Rpc(fsToCrdt, { submitPending: () => daemon.vfs.submitPending() })
    await daemon.#openVfs(fs)
    const main = {
      crdt: new Rpc(mainToCrdt),
      fs: new Rpc(mainToFs),
    }
    daemon.#main = main
    new Rpc(fsToMain, {
      drain: () => daemon.vfs.drain(),
      gcHeld: () => daemon.vfs.held(),
      gcReferences: async () => {
        await fs.call('told', undefined)
        const refs = await daemon.vfs.references()
        return byUse(refs.map((ref) => ({ use: 'local' as const, ref })))
      },
      keptUpTo: async (inodes: InodeId[]) => {
        await fs.call('told', undefined)
        return inodes.map((inode) => {
          const layers = daemon.overlay.policies(inode)
          return keptUpTo(
            layers.map(({ policy }) => policy),
            {},
          )
        })
      },
    })
    await daemon.#openSwarm(main)
    return daemon
  }

  #openStore(): void {
    const { disk, plant } = this.#options
    this.store = PackWriter.open({ disk, directory: '/packs' })
    const { clock } = this.#options
    const keys = this.#chunkKeys
    this.#collection = new PackCollection({ store: this.store, keys, clock })
    const contents = new LocalContents({
      store: this.store,
      keys: this.#chunkKeys,
      fetcher: { fetch: async (addresses, how) => (await this.#network).fetch(addresses, how) },
      cacheBytesMax: 64 * 1024,
    })
    this.contents = plant.contents?.(contents) ?? contents
  }

  /** As `daemon/crdt-thread.ts`. */
  async #openVolume(
    toFs: ConstructorParameters<typeof Rpc>[0],
    toMain: ConstructorParameters<typeof Rpc>[0],
  ): Promise<void> {
    const { identity, name, home, disk, random, clock, rows, plant, isAlive } = this.#options
    const { onProblem } = this.#options
    const feed = feedId(identity.device, 0)
    const self = { actor: createActor(feed, random), device: identity.device, deviceName: name }
    const writer = new TreeWriter({ rows, self, strategyOf })
    this.tree = plant.tree?.(writer, isAlive) ?? writer
    this.feeds = DiskFeedStore.open({
      disk,
      random,
      directory: '/log',
      volume: home.volume,
      device: identity.device,
      onDamage: (damage) =>
        onProblem({ code: 'FEED_CORRUPT', message: describeFeedDamage(damage) }),
    })
    const fs = new Rpc(toFs, {
      submit: (edits: Edit[]) => this.volume.submit(edits),
      told: () => {},
    })
    const handlers = this.#mainHandlers()
    const main = new Rpc(toMain, handlers)
    let isOpen = false
    this.volume = await Volume.open({
      id: home.volume,
      device: identity.device,
      deviceName: name,
      ...(home.admittedBy ? { guide: home.admittedBy } : {}),
      feed,
      signing: identity.signing,
      keys: this.keys,
      feeds: this.feeds,
      tree: this.tree,
      clock,
      hlc: this.#hlc.crdt,
      random,
      events: {
        onHead: (told, head) => main.emit('head', { feed: told, head } satisfies HeadEvent),
        onDelta: (delta, coveredTo, isOwn) => {
          if (!isOpen || !isAlive()) return
          const role = this.volume.role()
          const event = { delta, coveredTo, isOwn, role, labels: {}, hlc: this.#hlc.crdt.last }
          this.deltasUnderWay++
          fs.emit('delta', event satisfies DeltaEvent)
          const keys = delta.contents.map(({ key }) => key)
          if (delta.isPolicyChanged) main.emit('wants', {} satisfies WantsEvent)
          else if (keys.length > 0) main.emit('wants', { keys } satisfies WantsEvent)
          this.#options.onDelta(delta, coveredTo)
        },
        onMembers: () => {
          if (isOpen) main.emit('members', undefined)
        },
        onProblem,
        submitPending: () => fs.call('submitPending', undefined) as Promise<void>,
      },
    })
    if (this.#options.lost) await this.volume.restore(this.#options.lost)
    isOpen = true
    plant.turns?.(this.volume.turns)
    const { tree, volume } = this
    const roots = new GcRoots({ rows, tree, volume, clock, daysOf: historyDaysOf })
    Object.assign(handlers, roots.handlers)
    await this.#openSnapshots(main)
  }

  async #openSnapshots(main: Rpc): Promise<void> {
    const { disk, rows, clock, random, identity, onProblem, hasBackfill } = this.#options
    if (!hasBackfill) return
    const { feeds, volume, tree } = this
    this.snapshots = new Snapshots({
      paths: { log: '/log', snapshots: '/snapshots' },
      keys: this.keys,
      logBytesMin: 0,
      ...{ disk, rows, clock, random, identity, feeds, volume, tree, onProblem },
      onTaken: () => main.emit('wants', {} satisfies WantsEvent),
    })
    await this.snapshots.start()
  }

  #mainHandlers(): Handlers {
    return {
      frontier: () => this.volume.frontier(),
      holds: (tips: FeedTip[]) => this.volume.holds(tips),
      read: (args: { feed: FeedId; fromSeq: number; bytesMax: number }) =>
        this.volume.read(args.feed, args.fromSeq, args.bytesMax),
      receive: async (args: { feed: FeedId; frames: Uint8Array[] }) => {
        const result = await this.volume.receive(args.feed, args.frames)
        this.snapshots?.arrived()
        return result
      },
      ...this.#snapshotHandlers(),
      admit: async (request: AdmissionRequest) => {
        const nowMs = this.#options.clock.nowMs()
        await this.volume.write(() => {
          const op = this.volume.members.checkAdmission(request, nowMs)
          return this.volume.members.isMember(request.device) ? [] : [op]
        })
        return sealToBox(request.boxKey, this.keys.secrets.encode(), new SeededRandom(1))
      },
      wants: (query: WantsQuery) => this.volume.wants(query),
      fetched: (keys: string[]) => this.volume.tend((tree) => tree.fetched(keys)),
    }
  }

  #snapshotHandlers(): Handlers {
    const names = [
      ...(['isSnapshotWanted', 'offerSnapshot', 'readSnapshot', 'beginSnapshot'] as const),
      ...(['putSnapshot', 'finishSnapshot', 'gaps'] as const),
    ]
    return Object.fromEntries(
      names.map((name) => [name, (args: any) => this.snapshots?.handlers[name](args as never)]),
    )
  }

  /** As `daemon/fs-thread.ts`. */
  async #openVfs(crdt: Rpc): Promise<void> {
    const { disk, random, clock, identity, index, onProblem } = this.#options
    this.overlay = new Overlay({
      rows: index.reader(),
      random,
      tick: () => this.#hlc.fs.tick(),
      nowNs: () => clock.nowNs(),
      strategyOf,
      daysOf: historyDaysOf,
    })
    const { coveredTo } = this.volume
    const journal = DiskJournal.open({
      disk,
      random,
      directory: '/journal',
      key: identity.localKey(`journal/${this.#options.home.volume}`),
      numberMin: coveredTo + 1,
      onDamage: (damage) => onProblem({ code: 'JOURNAL_CORRUPT', message: describeDamage(damage) }),
    })
    this.role = this.volume.role()
    this.vfs = await Vfs.open({
      overlay: this.overlay,
      journal,
      committer: {
        submit: (edits) => crdt.call('submit', [...edits]) as Promise<{ coveredTo: number }>,
      },
      contents: this.contents,
      clock,
      random,
      role: () => this.role ?? 'reader',
      coveredTo,
      policyOf: (text) => {
        const parsed = parsePolicy(text)
        return 'canonical' in parsed ? { policy: parsed.canonical } : { problems: parsed.problems }
      },
      space: () => disk.spaceSync('/packs'),
      onProblem,
    })
    crdt.on<DeltaEvent>('delta', (event) => {
      this.role = event.role
      this.#hlc.fs.observe(event.hlc)
      this.vfs.applyDelta(event.delta, event.coveredTo, event)
      this.deltasUnderWay--
    })
  }

  /** As `daemon/volume-host.ts`. */
  async #openSwarm(main: { crdt: Rpc; fs: Rpc }): Promise<void> {
    const { identity, clock, random, network, host, home, plant, onProblem } = this.#options
    const { hasSnapshots, hasBackfill } = this.#options
    const log: LogPort = {
      frontier: () => main.crdt.call('frontier', undefined) as ReturnType<LogPort['frontier']>,
      read: (feed, fromSeq, bytesMax) =>
        main.crdt.call('read', { feed, fromSeq, bytesMax }) as Promise<Uint8Array[]>,
      receive: (feed, frames) =>
        main.crdt.call('receive', { feed, frames: [...frames] }) as ReturnType<LogPort['receive']>,
      holds: (tips) => main.crdt.call('holds', [...tips]) as Promise<boolean[]>,
      publish: () => main.fs.call('drain', undefined) as Promise<void>,
      ...(hasBackfill ? { gaps: () => main.crdt.call('gaps', undefined) as LogGaps } : {}),
      onHead: (listener) => {
        main.crdt.on<HeadEvent>('head', ({ feed, head }) => listener(feed, head))
      },
    }
    this.duty = new FetchDuty({
      clock,
      wants: (how) => main.crdt.call('wants', how) as ReturnType<FetchDutyWants>,
      fetched: (keys) => main.crdt.call('fetched', keys) as Promise<void>,
      keptUpTo: (inodes) => main.fs.call('keptUpTo', inodes) as Promise<number[]>,
      has: (address) => this.store.has(address),
      fetch: (addresses, signal) => this.swarm.fetch(addresses, { priority: 'background', signal }),
      addresses: (content, signal) =>
        this.contents.addresses(content, { signal, priority: 'background' }),
      sync: () => this.store.sync(),
      hasPeers: () => this.swarm?.peers().some((peer) => peer.routes.length > 0) ?? false,
      onProblem,
    })
    this.swarm = await Swarm.open({
      volume: home.volume,
      device: identity.device,
      log: plant.log?.(log) ?? log,
      members: this.#memberPort(main.crdt),
      ...(hasSnapshots ? { snapshots: createSnapshotPort({ crdt: main.crdt as never }) } : {}),
      chunks: {
        has: (address) => this.store.has(address),
        read: (address) => this.store.get(address),
        write: async (address, sealed) => this.store.put(address, sealed),
      },
      clock,
      random,
      transports: [network.transport(identity.device, { isListening: true, host })],
      addresses: home.addresses,
      onAddresses: (addresses) => {
        if (this.#options.isAlive()) home.addresses = addresses
      },
      onPeer: () => this.duty.retry(),
      onReport: ({ code, message }) => onProblem({ code, message }),
    })
    this.#onNetwork(this.swarm)
    main.crdt.on('members', () => this.swarm.membersChanged())
    main.crdt.on<WantsEvent>('wants', ({ keys }) => {
      if (keys) this.duty.add(keys)
      else this.duty.poke()
    })
    this.duty.poke()
  }

  /** Members as the log says; a joiner takes those it was told of at their word. */
  #memberPort(crdt: Rpc): MemberPort {
    const { home, clock } = this.#options
    const known = (): { device: DeviceId; name: string }[] => {
      const { members, turns } = this.volume
      if (turns.revokedBy(members)) return []
      const role = this.volume.role()
      return knownDevices({
        members: role === undefined ? [] : members.members(),
        isComplete: role !== undefined && !this.volume.isBehind,
        addresses: home.addresses,
        isRevoked: (device) => members.isRevoked(device),
      })
    }
    return {
      isMember: (device) => known().some((member) => member.device === device),
      devices: () => known().map(({ device, name }) => ({ device, name })),
      isOpenInvite: (inviteKey) => this.volume.members.knownInvites().includes(inviteKey),
      openInvites: () =>
        this.volume.members
          .openInvites(clock.nowMs())
          .filter((invite) => !invite.isRecovery)
          .map(({ inviteKey }) => inviteKey),
      admit: (request) => crdt.call('admit', request) as Promise<Uint8Array>,
      farewell: (device) => {
        const { members, turns } = this.volume
        return members.isRevoked(device) ? turns.farewell(members, device) : undefined
      },
      onFarewell: ({ feed, frame }) => {
        const farewell = { feed, frame: Buffer.from(frame) }
        void this.volume.takeFarewell(farewell).catch((error: unknown) => {
          const { code, message } = errorToData(error)
          if (code === 'BUG') this.#options.onProblem({ code, message })
        })
      },
    }
  }

  /** As `wormhole gc`. */
  collect(options: { readonly isDryRun: boolean }): Promise<GcOutcome> {
    const ports = gcPorts(this.#main, this.#options.clock, this.#collection)
    return runGc(ports, { ...options, signal: new AbortController().signal }, () => undefined)
  }

  /** Ends cleanly, in the order of the daemon. */
  async close(): Promise<void> {
    await this.swarm.close()
    await this.duty.close()
    await this.vfs.close()
    await this.snapshots?.close()
    await this.volume.close()
    await this.store.close()
  }
}

type LogGaps = ReturnType<Exclude<LogPort['gaps'], undefined>>
type FetchDutyWants = ConstructorParameters<typeof FetchDuty>[0]['wants']
