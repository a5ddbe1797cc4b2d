/**
 * The crdt thread of one volume: feeds, Automerge shards and the only writer of the index.
 *
 * Started by `volume-host.ts`; ends when main closes its port.
 */
import { isDeepStrictEqual } from 'node:util'
import { parentPort, workerData } from 'node:worker_threads'
import { openLmdbRowStore } from '../crdt/lmdb.ts'
import type { RowStore } from '../crdt/rows.ts'
import type { WantsQuery } from '../crdt/wants.ts'
import { TreeWriter } from '../crdt/writer.ts'
import { systemDisk } from '../disk.ts'
import { errorToData, hasCode } from '../errors.ts'
import { createActor } from '../log/actors.ts'
import { DiskFeedStore } from '../log/feeds.ts'
import { describeFeedDamage } from '../log/salvage.ts'
import { KeyRing } from '../log/key-ring.ts'
import { identityFromSeed, VolumeSecrets } from '../log/keys.ts'
import type { ControlOp, FeedTip } from '../log/interface.ts'
import type { Farewell } from '../log/turns.ts'
import type { DeviceLabels } from '../policy/interface.ts'
import { Rpc, type Handler, type MessagePortLike } from '../rpc.ts'
import { sealToBox } from '../seal.ts'
import { HybridClock, systemClock, systemRandom } from '../system.ts'
import type { AdmissionRequest } from '../swarm/interface.ts'
import { feedId, type DeviceId, type FeedId, type InodeId } from '../types.ts'
import { Volume, type VolumeEvents } from '../volume.ts'
import { Acknowledger } from './acknowledger.ts'
import { unpackEdits, type EditBatch } from './edit-batch.ts'
import { GcRoots } from './gc-roots.ts'
import { HomeFilesStore } from './home-files.ts'
import { LogChanges, type LogChangesQuery } from './log-changes.ts'
import { revokedData, stampToIso } from './reports.ts'
import { Retention } from './retention.ts'
import { Snapshots } from './snapshots.ts'
import { historyDaysOf, historyVersionsOf, strategyOf } from './strategy.ts'
import {
  deviceLabels,
  type CrdtThreadData,
  type DeltaEvent,
  type HeadEvent,
  type KeysEvent,
  type MembersData,
  type ProblemEvent,
  type SubmitPendingApi,
  type WantsEvent,
} from './threads.ts'

const data = workerData as CrdtThreadData
const identity = identityFromSeed(data.seed)
const files = new HomeFilesStore({ home: '', disk: systemDisk, random: systemRandom })
let onKeys = (): void => {}
const keys = new KeyRing({
  secrets: VolumeSecrets.decode(data.secrets),
  box: identity.box,
  save: (secrets) => files.saveSecrets(data.paths.directory, secrets),
  onChange: () => onKeys(),
})
const hlc = new HybridClock(systemClock)

/** Chunks of an admission: everything a joiner needs, sealed to its box key. */
function sealedSecrets(boxKey: Uint8Array): Uint8Array {
  return sealToBox(boxKey, keys.secrets.encode(), systemRandom)
}

function membersData(volume: Volume): MembersData {
  const table = volume.members
  return {
    volumeName: table.volumeName,
    role: volume.role(),
    labels: deviceLabels(table.member(identity.device)),
    isBehind: volume.isBehind,
    members: table.members().map(({ device, name, role, labels }) => {
      return { device, name, role, labels }
    }),
    invites: table.openInvites(systemClock.nowMs()),
    knownInvites: table.knownInvites(),
    ...revokedData(volume),
    meeting: volume.turns.meeting.map((generation) => keys.secrets.topic(generation) as Buffer),
  }
}

const feed = feedId(identity.device, data.generation)
const actor = createActor(feed, systemRandom)

function openRows(directory: string, { isReadOnly }: { isReadOnly: boolean }): RowStore {
  const key = identity.localKey(`index/${data.volume}`)
  return openLmdbRowStore({ directory, key, random: systemRandom, isReadOnly })
}

/** A volume and what belongs to its opener. */
interface OpenedVolume {
  readonly rows: RowStore
  readonly tree: TreeWriter
  readonly volume: Volume
}

/** Opens index and volume. Rows belong to the caller. */
async function openVolume(feeds: DiskFeedStore, events: VolumeEvents): Promise<OpenedVolume> {
  const rows = openRows(data.paths.index, { isReadOnly: false })
  const self = { actor, device: identity.device, deviceName: data.deviceName }
  try {
    const tree = new TreeWriter({ rows, self, strategyOf })
    const volume = await Volume.open({
      id: data.volume,
      device: identity.device,
      deviceName: data.deviceName,
      ...(data.guide ? { guide: data.guide } : {}),
      feed,
      signing: identity.signing,
      keys,
      feeds,
      tree,
      clock: systemClock,
      hlc,
      random: systemRandom,
      events,
    })
    return { rows, tree, volume }
  } catch (error) {
    await rows.close()
    throw error
  }
}

/** Says anew what only an index that was set aside knows, and removes it. */
async function restoreFrom(directory: string, volume: Volume, events: VolumeEvents): Promise<void> {
  const old = openRows(directory, { isReadOnly: true })
  try {
    await volume.restore(old)
  } catch (error) {
    if (!hasCode(error, 'INDEX_CORRUPT')) throw error
    const aside = `${directory}.damaged`
    events.onProblem({ code: error.code, message: `${error.message}; it is kept as ${aside}` })
    systemDisk.removeSync(aside)
    systemDisk.renameSync(directory, aside)
  } finally {
    await old.close()
  }
  systemDisk.removeSync(directory)
}

/**
 * As `openVolume`. A damaged index is set aside and made anew from the log. One that knows more
 * than the log can give others is set aside too; what only it knows is said anew, so that nothing
 * vanishes. It is kept until that is done, whenever the process dies.
 */
async function openOrRebuild(feeds: DiskFeedStore, events: VolumeEvents): Promise<OpenedVolume> {
  const lost = `${data.paths.index}.lost`
  try {
    const opened = await openVolume(feeds, events)
    if (systemDisk.listSync(lost).length === 0) return opened
    await restoreFrom(lost, opened.volume, events)
    return opened
  } catch (error) {
    const isFirst = systemDisk.listSync(lost).length === 0
    if (hasCode(error, 'LOG_LOST') && isFirst) {
      systemDisk.renameSync(data.paths.index, lost)
      events.onProblem({
        code: error.code,
        message: `${error.message}: what the index shows of them was written anew`,
      })
      return openOrRebuild(feeds, events)
    }
    if (!hasCode(error, 'INDEX_CORRUPT')) throw error
    const aside = `${data.paths.index}.damaged`
    systemDisk.removeSync(aside)
    systemDisk.renameSync(data.paths.index, aside)
    events.onProblem({
      code: 'INDEX_CORRUPT',
      message: `${error.message}; the index was rebuilt from the log, the old one is ${aside}`,
    })
    return openVolume(feeds, events)
  }
}

async function start() {
  const offered: Record<string, Handler> = {}
  const main = new Rpc(parentPort as MessagePortLike, offered)
  const onProblem = (problem: ProblemEvent): void => main.emit('problem', problem)
  const feeds = DiskFeedStore.open({
    disk: systemDisk,
    random: systemRandom,
    directory: data.paths.log,
    volume: data.volume,
    device: identity.device,
    onDamage: (damage) => onProblem({ code: 'FEED_CORRUPT', message: describeFeedDamage(damage) }),
  })

  let opened: Volume | undefined
  let knownLabels: DeviceLabels = {}
  const published = { edits: 0, puts: 0, entries: 0 }
  /** Statements of the log and membership, for main. */
  const mainHandlers = {
    frontier: () => volume.frontier(),
    lengths: () => [...volume.frontier()].map(([feed, { length }]) => [feed, length] as const),
    holds: (tips: FeedTip[]) => volume.holds(tips),
    read: (args: { feed: FeedId; fromSeq: number; bytesMax: number }) =>
      volume.read(args.feed, args.fromSeq, args.bytesMax),
    receive: async (args: { feed: FeedId; frames: Uint8Array[] }) => {
      const result = await volume.receive(args.feed, args.frames)
      snapshots.arrived()
      return result
    },
    settled: () => volume.settled(),
    lastEntries: () => {
      const last = new Map<DeviceId, string>()
      for (const [device, hlc] of volume.lastStamps()) last.set(device, stampToIso(hlc))
      return last
    },
    write: (control: ControlOp[]) => volume.write(control),
    revoke: async (device: DeviceId) => {
      await volume.write(() => volume.turns.revocation(volume.members, device))
      return { left: membersData(volume).members }
    },
    takeFarewell: (farewell: Farewell) => volume.takeFarewell(farewell),
    admit: async (request: AdmissionRequest) => {
      // Checked when it is its turn: of two at a time, only one may have the last use.
      await volume.write(() => {
        const op = volume.members.checkAdmission(request, systemClock.nowMs())
        return volume.members.isMember(request.device) ? [] : [op]
      })
      return sealedSecrets(request.boxKey)
    },
    wants: (query: WantsQuery) => volume.wants(query),
    salvage: (runs: string[]) => {
      for (const run of runs) feeds.salvage(run)
    },
    published: () => published,
    members: () => membersData(volume),
    missingEntries: (how: { isAll: boolean }) => volume.missingEntries(how),
    wantAgain: (contents: { inode: InodeId; version: string }[]) =>
      volume.tend((tree) => tree.wantAgain(contents)),
    fetched: (keys: string[]) => volume.tend((tree) => tree.fetched(keys)),
    close: async () => {
      retention.stop()
      acknowledger.stop()
      await snapshots.close()
      await volume.close()
      await rows.close()
    },
  }
  const fs = new Rpc<SubmitPendingApi>(data.fs, {
    submit: async (batch: EditBatch) => {
      const edits = unpackEdits(batch)
      const before = state.tree.putCount
      const done = await volume.submit(edits)
      published.edits += edits.length
      published.puts = state.tree.putCount
      if (published.puts > before) published.entries++
      return done
    },
    told: () => {},
    logChanges: (query: LogChangesQuery) => logChanges.slice(query),
    labelsOf: (device) => {
      const members = opened?.members.members() ?? []
      return members.filter(({ name, device: id }) => [name, id].includes(device)).map(deviceLabels)
    },
  })
  onKeys = () => {
    const event = { secrets: keys.secrets.encode(), current: keys.currentGeneration }
    fs.emit('keys', event satisfies KeysEvent)
    main.emit('keys', event satisfies KeysEvent)
  }
  const state = await openOrRebuild(feeds, {
    onHead: (feed, head) => main.emit('head', { feed, head } satisfies HeadEvent),
    onDelta: (delta, coveredTo, isOwn) => {
      // What opening applies needs no news: nobody has read the index yet.
      if (!opened) return
      const role = opened.role()
      const labels = deviceLabels(opened.members.member(identity.device))
      const event = { delta, coveredTo, isOwn, role, labels, hlc: hlc.last }
      fs.emit('delta', event satisfies DeltaEvent)
      const keys = delta.contents.map(({ key }) => key)
      const isRelabelled = !isDeepStrictEqual(labels, knownLabels)
      knownLabels = labels
      if (delta.isPolicyChanged || isRelabelled) main.emit('wants', {} satisfies WantsEvent)
      else if (keys.length > 0) main.emit('wants', { keys } satisfies WantsEvent)
    },
    onMembers: () => {
      if (opened) main.emit('members', membersData(opened))
    },
    onProblem,
    submitPending: () => fs.call('submitPending', undefined),
  })
  const { rows, tree } = state
  const volume: Volume = state.volume
  const { paths } = data
  const onTaken = (): void => main.emit('wants', {} satisfies WantsEvent)
  const system = { disk: systemDisk, clock: systemClock, random: systemRandom }
  const parts = { paths, identity, keys, feeds, rows, tree, volume, onProblem, onTaken }
  const snapshots: Snapshots = new Snapshots({ ...parts, ...system })
  await snapshots.start()
  opened = volume
  knownLabels = deviceLabels(volume.members.member(identity.device))
  const logChanges = new LogChanges({
    volume: data.volume,
    device: identity.device,
    feeds,
    keys,
    clock: systemClock,
    applied: () => volume.appliedFrontier(),
  })
  const gcRoots = new GcRoots({ rows, tree, volume, clock: systemClock, daysOf: historyDaysOf })
  const handlers = { ...mainHandlers, ...snapshots.handlers, ...gcRoots.handlers }
  Object.assign(offered, handlers)
  const retention = new Retention({
    volume,
    clock: systemClock,
    daysOf: historyDaysOf,
    versionsOf: historyVersionsOf,
  })
  retention.start()
  const { device } = identity
  const acknowledger = new Acknowledger({ volume, device, clock: systemClock, onProblem })
  acknowledger.start()
  main.emit('ready', { coveredTo: volume.coveredTo, members: membersData(volume) })
  return handlers
}

/** The methods that main calls on the crdt thread. */
export type CrdtApi = Awaited<ReturnType<typeof start>>

start().catch((error: unknown) => {
  new Rpc(parentPort as MessagePortLike).emit('failed', errorToData(error))
})
