/** The ports that main gives to the parts of a volume, over its threads. */
import type { LogPort, SnapshotPort } from '../swarm/interface.ts'
import type { Swarm } from '../swarm/swarm.ts'
import { systemClock } from '../system.ts'
import { Absence } from './absence.ts'
import { FetchDuty } from './fetch-duty.ts'
import type { VolumeSettings } from './home-files.ts'
import { PinBoard } from './pin-board.ts'
import type { HeadEvent, ProblemEvent } from './threads.ts'
import type { VolumeThreads } from './volume-threads.ts'

/** The log of a volume as the swarm needs it. */
export function createLogPort({ crdt, fs }: VolumeThreads): LogPort {
  return {
    frontier: () => crdt.call('frontier', undefined),
    holds: (tips) => crdt.call('holds', [...tips]),
    read: (feed, fromSeq, bytesMax) => crdt.call('read', { feed, fromSeq, bytesMax }),
    receive: (feed, frames) => crdt.call('receive', { feed, frames: [...frames] }),
    gaps: () => crdt.call('gaps', undefined),
    publish: () => fs.call('drain', undefined),
    onHead: (listener) => {
      crdt.on<HeadEvent>('head', ({ feed, head }) => listener(feed, head))
    },
  }
}

/** Making and taking snapshots, as the swarm needs it. */
export function createSnapshotPort({ crdt }: Pick<VolumeThreads, 'crdt'>): SnapshotPort {
  return {
    isWanted: () => crdt.call('isSnapshotWanted', undefined),
    offer: () => crdt.call('offerSnapshot', undefined),
    read: (hash, offset, bytesMax) => crdt.call('readSnapshot', { hash, offset, bytesMax }),
    begin: (statement) => crdt.call('beginSnapshot', statement),
    put: (hash, bytes) => crdt.call('putSnapshot', { hash, bytes }),
    finish: () => crdt.call('finishSnapshot', undefined),
  }
}

/** The duty to bring what this device keeps. `swarm` is asked for when it is needed. */
export function createFetchDuty(
  threads: VolumeThreads,
  options: { swarm: () => Swarm; onProblem: (problem: ProblemEvent) => void },
): FetchDuty {
  const { crdt, fs, chunks, contents } = threads
  return new FetchDuty({
    clock: systemClock,
    wants: (how) => crdt.call('wants', how),
    fetched: (keys) => crdt.call('fetched', keys),
    keptUpTo: (inodes) => fs.call('keptUpTo', inodes),
    has: (address) => chunks.has(address),
    fetch: (addresses, signal) =>
      options.swarm().fetch(addresses, { priority: 'background', signal }),
    addresses: (content, signal) => contents.addresses(content, { signal, priority: 'background' }),
    sync: () => chunks.sync(),
    hasPeers: () => isConnected(options.swarm()),
    onProblem: options.onProblem,
  })
}

/** Whether another device is connected; none is before the swarm is open. */
export function isConnected(swarm: Swarm | undefined): boolean {
  return swarm?.peers().some((peer) => peer.routes.length > 0) ?? false
}

/** The pins of a volume; its parts are asked for when they are needed. */
export function createPinBoard(volume: {
  settings: () => VolumeSettings
  save: (changes: Partial<VolumeSettings>) => void
  threads: () => VolumeThreads
  duty: () => FetchDuty
  swarm: () => Swarm
}): PinBoard {
  return new PinBoard({
    clock: systemClock,
    pins: () => volume.settings().pins ?? [],
    save: (pins) => volume.save({ pins }),
    fs: (method, args) => volume.threads().fs.call(method, args as never) as never,
    wants: (query) => volume.threads().crdt.call('wants', query),
    duty: volume.duty,
    hasPeers: () => isConnected(volume.swarm()),
    peers: () => volume.swarm().peers(),
    seek: () => volume.swarm().refresh(),
    chunkCount: async () => (await volume.threads().chunks.stats()).chunkCount,
  })
}

/** Who was connected when; goes on with what the settings say. */
export function createAbsence(
  { crdt }: VolumeThreads,
  volume: {
    state: VolumeSettings['absence']
    save: (changes: Partial<VolumeSettings>) => void
    onProblem: (problem: ProblemEvent) => void
  },
): Absence {
  return new Absence(volume.state, {
    clock: systemClock,
    lengths: () => crdt.call('lengths', undefined),
    newestMs: async () => {
      const last = await crdt.call('lastEntries', undefined)
      return Math.max(0, ...[...last.values()].map((iso) => Date.parse(iso)))
    },
    save: (absence) => volume.save({ absence }),
    onProblem: volume.onProblem,
  })
}
