/**
 * The fs thread of one volume: kernel requests, open files, the journal, the overlay of unpublished
 * edits and every read of the index. Serves the command line's paths too.
 *
 * Started by `volume-host.ts`, together with the crdt thread: loads its code and waits for `begin`,
 * when the index is open. Ends when main closes its port.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { StoreClient } from '../chunks/thread.ts'
import { ChunkKeyRing } from '../chunks/keys.ts'
import { openLmdbRowStore } from '../crdt/lmdb.ts'
import { Overlay } from '../crdt/overlay.ts'
import { systemDisk } from '../disk.ts'
import { errorToData } from '../errors.ts'
import { describeDamage, DiskJournal } from '../log/journal.ts'
import { identityFromSeed, VolumeSecrets } from '../log/keys.ts'
import { parsePolicy, POLICY_FILE_NAME, POLICY_FILE_SIZE_BYTES_MAX } from '../policy/parse.ts'
import { Rpc, type Handler, type MessagePortLike } from '../rpc.ts'
import { HybridClock, systemClock, systemRandom } from '../system.ts'
import type { ChunkAddress, InodeId } from '../types.ts'
import { Vfs } from '../vfs/vfs.ts'
import { RECORD_NAMES } from '../vfs/journal-records.ts'
import type { ServedMount } from '../vfs/fuse/interface.ts'
import { ChangeQueries } from './change-queries.ts'
import { ConflictQueries } from './conflict-queries.ts'
import { packEdits } from './edit-batch.ts'
import { FileStreams } from './file-streams.ts'
import { byUse } from './gc-roots.ts'
import { Pins } from './pins.ts'
import { PolicyExplainer } from './policy-explain.ts'
import { PolicyWatch } from './policy-watch.ts'
import { Restorer } from './restore.ts'
import { TreeQueries } from './tree-queries.ts'
import {
  chunkKeysData,
  type DeltaEvent,
  type FsBegin,
  type FsThreadData,
  type KeysEvent,
  type MainApi,
  type ProblemEvent,
  type SubmitApi,
  type VolumePaths,
  type WantsEvent,
} from './threads.ts'
import { historyDaysOf, keptUpTo, strategyOf } from './strategy.ts'
import type { OwnerChoice } from '../vfs/interface.ts'

const data = workerData as FsThreadData
const identity = identityFromSeed(data.seed)
const hlc = new HybridClock(systemClock)

function openIndex(paths: VolumePaths) {
  return openLmdbRowStore({
    directory: paths.index,
    key: identity.localKey(`index/${data.volume}`),
    random: systemRandom,
    isReadOnly: true,
  })
}

async function start() {
  const offered: Record<string, Handler> = {}
  const main = new Rpc<MainApi>(parentPort as MessagePortLike, offered)
  const [begin, store] = await Promise.all([
    new Promise<FsBegin>((resolve) => main.on('begin', resolve)),
    StoreClient.connect(data.store),
  ])
  let { role, labels } = begin
  let mount: ServedMount | undefined
  const rows = openIndex(data.paths)
  const overlay = new Overlay({
    rows,
    random: systemRandom,
    tick: () => hlc.tick(),
    nowNs: () => systemClock.nowNs(),
    strategyOf,
    daysOf: historyDaysOf,
  })
  const onProblem = (problem: ProblemEvent): void => main.emit('problem', problem)
  const journal = DiskJournal.open({
    disk: systemDisk,
    random: systemRandom,
    directory: data.paths.journal,
    key: identity.localKey(`journal/${data.volume}`),
    numberMin: begin.coveredTo + 1,
    clock: systemClock,
    onDamage: (damage) => onProblem({ code: 'JOURNAL_CORRUPT', message: describeDamage(damage) }),
  })
  const keys = new ChunkKeyRing(chunkKeysData(VolumeSecrets.decode(data.secrets)))
  const contents = store.contents({
    keys,
    fetcher: {
      fetch: (addresses: readonly ChunkAddress[], { priority, signal }) =>
        main.call('fetch', { addresses, priority }, { signal }),
    },
  })
  const crdt = new Rpc<SubmitApi>(data.crdt, { submitPending: () => vfs.submitPending() })
  crdt.on<KeysEvent>('keys', ({ secrets, current }) => {
    keys.update(chunkKeysData(VolumeSecrets.decode(secrets), current))
  })
  const vfs: Vfs = await Vfs.open({
    overlay,
    journal,
    committer: {
      submit: (edits) => {
        const { batch, transfer } = packEdits(edits)
        return crdt.call('submit', batch, { transfer })
      },
    },
    contents,
    clock: systemClock,
    random: systemRandom,
    role: () => role ?? 'reader',
    coveredTo: begin.coveredTo,
    policyOf: (text) => {
      const parsed = parsePolicy(text)
      return 'canonical' in parsed ? { policy: parsed.canonical } : { problems: parsed.problems }
    },
    space: () => systemDisk.spaceSync(data.paths.packs),
    onProblem,
    deviceOf: (inode) =>
      overlay.history({ inode }).find(({ state }) => state === 'current')?.deviceName,
    requestCount: () => mount?.requestCount() ?? 0,
  })
  const isHere = (inode: InodeId): boolean => {
    const content = overlay.node(inode)?.content
    const ref = content?.kind === 'file' ? content.ref : undefined
    return ref === undefined || ref.type === 'empty' || store.has(ref.address)
  }
  const told = (): Promise<void> => crdt.call('told', undefined)
  const pins = new Pins({ overlay, vfs, pins: data.pins, told })
  const policyWatch = new PolicyWatch({
    overlay,
    vfs,
    clock: systemClock,
    suspects: data.policySuspects,
    isHere,
    onSuspects: (directories) => main.emit('policySuspects', directories),
  })
  crdt.on<DeltaEvent>('delta', (event) => {
    role = event.role
    labels = event.labels
    hlc.observe(event.hlc)
    vfs.applyDelta(event.delta, event.coveredTo, event)
    policyWatch.changed(event.delta)
    if (pins.hasMovedIn(event.delta)) main.emit('wants', {} satisfies WantsEvent)
  })
  const changes = new ChangeQueries({
    overlay,
    vfs,
    logChanges: (query) => crdt.call('logChanges', query),
  })
  const streams = new FileStreams(vfs.paths)
  const queries = new TreeQueries({ overlay, vfs, contents })
  const explainer = new PolicyExplainer({
    overlay,
    vfs,
    isHere,
    pinAbove: (inode) => pins.above(inode),
    labelsOf: async (device) => (device === undefined ? [labels] : crdt.call('labelsOf', device)),
  })
  const conflicts = new ConflictQueries({ overlay, vfs, self: identity.device })
  const restorer = new Restorer({ overlay, vfs })

  const handlers = {
    ...streams.handlers,
    ...queries.handlers,
    ...conflicts.handlers,
    ...restorer.handlers,
    ...policyWatch.handlers,
    ...explainer.handlers,
    ...pins.handlers,
    ...changes.handlers,
    counts: () => ({
      files: overlay.fileCount,
      requests: mount?.requestCounts() ?? {},
      records: Object.fromEntries(
        Object.entries(RECORD_NAMES).map(([name, type]) => [name, journal.appended(type)]),
      ),
    }),
    pendingEdits: () => vfs.pendingEdits,
    drain: () => vfs.drain(),
    gcHeld: () => vfs.held(),
    /** What this thread has not heard of cannot be opened afterwards: the deltas come first. */
    gcReferences: async () => {
      await told()
      return byUse((await vfs.references()).map((ref) => ({ use: 'local' as const, ref })))
    },
    /**
     * For each inode up to which size this device keeps its content. Main learns of new contents
     * from the crdt thread, maybe before this thread does: without its inode a file would have no
     * policy. What is deleted can come back: it is kept as it was where it was.
     */
    keptUpTo: async (inodes: InodeId[]) => {
      await told()
      const isPinned = pins.checker()
      return inodes.map((inode) => {
        if (isPinned(inode)) return Infinity
        // What decides about files must be at hand to be explained, and its mistakes to be told.
        if (overlay.node(inode)?.name === POLICY_FILE_NAME) return POLICY_FILE_SIZE_BYTES_MAX
        const policies = overlay.policies(inode).map(({ policy }) => policy)
        return keptUpTo(policies, labels)
      })
    },
    labels: () => labels,
    mount: async (args: { directory: string; fsName: string; owner: OwnerChoice }) => {
      const { directory, fsName, owner } = args
      const { serveMount } = await import('../vfs/fuse/serve.ts')
      vfs.setOwner(owner)
      mount = await serveMount({
        directory,
        fsName,
        fileSystem: vfs.fileSystem,
        clock: systemClock,
        random: systemRandom,
        onBug: (error, operation) =>
          onProblem({ code: 'BUG', message: `${operation}: ${error.stack ?? error.message}` }),
      })
      vfs.setNotifier(mount.notifier)
      void mount.ended.then((end) => {
        vfs.setNotifier(undefined)
        mount = undefined
        main.emit('unmounted', { reason: end.reason, message: end.error?.message })
      })
      return { mountpoint: mount.directory, transport: mount.transport }
    },
    unmount: async () => {
      await mount?.close()
    },
    close: async () => {
      await mount?.close()
      await vfs.close()
      store.close()
      await rows.close()
    },
  }
  Object.assign(offered, handlers)
  main.emit('ready', {})
  return handlers
}

/** The methods that main calls on the fs thread. */
export type FsApi = Awaited<ReturnType<typeof start>>

start().catch((error: unknown) => {
  new Rpc(parentPort as MessagePortLike).emit('failed', errorToData(error))
})
