/**
 * The three threads of one volume and their ports.
 *
 * All of them start at once, because loading their code takes longest. Order of opening: packs and
 * log side by side; index (crdt thread); journal (fs thread). Order of closing: fs thread
 * (unmounts, publishes), crdt thread, store thread.
 */
import { MessageChannel } from 'node:worker_threads'
import type { ChunkFetcher, ContentStore } from '../chunks/interface.ts'
import { ChunkKeyRing } from '../chunks/keys.ts'
import { StoreClient, StoreThread } from '../chunks/thread.ts'
import { VolumeSecrets } from '../log/keys.ts'
import { siblingModule } from '../module-url.ts'
import type { Rpc } from '../rpc.ts'
import type { CrdtApi } from './crdt-thread.ts'
import type { FsApi } from './fs-thread.ts'
import {
  chunkKeysData,
  type CrdtThreadData,
  type FsBegin,
  type FsThreadData,
  type KeysEvent,
  type MainApi,
  type MembersData,
  type ProblemEvent,
  type ThreadData,
  type WantsEvent,
} from './threads.ts'
import type { DeviceId, InodeId } from '../types.ts'
import { guardIndex, indexIsOpen } from './index-guard.ts'
import { startWorkerThread, type WorkerThread } from './worker-thread.ts'

type CrdtReady = { coveredTo: number; members: MembersData }

/** What the threads tell main. */
export interface VolumeThreadsOptions {
  readonly generation: number
  /** Who let this device in. */
  readonly guide: DeviceId | undefined
  readonly policySuspects: readonly InodeId[]
  readonly pins: readonly InodeId[]
  readonly fetch: ChunkFetcher['fetch']
  onMembers(members: MembersData): void
  /** Other keys are held: kept on the disk already. */
  onKeys(secrets: Uint8Array): void
  /** There are new contents to fetch. */
  onWants(event: WantsEvent): void
  onProblem(problem: ProblemEvent): void
  /** Directories whose policy file may have mistakes, to be known at the next start. */
  onPolicySuspects(directories: readonly InodeId[]): void
  onUnmounted(end: { reason: string; message?: string }): void
  /** A thread ended by itself: a bug, the volume cannot go on. */
  onDeath(error: Error): void
}

/** See the head of this file. */
export class VolumeThreads {
  readonly #store: StoreThread
  readonly #crdt: WorkerThread<CrdtApi, CrdtReady>
  readonly #fs: WorkerThread<FsApi, object>
  /** Sealed chunks, as main uses them. */
  readonly chunks: StoreClient
  /** File contents, as main uses them. */
  readonly contents: ContentStore
  readonly #keysTaken: () => Promise<void>

  private constructor(parts: {
    keysTaken: () => Promise<void>
    store: StoreThread
    crdt: WorkerThread<CrdtApi, CrdtReady>
    fs: WorkerThread<FsApi, object>
    chunks: StoreClient
    contents: ContentStore
  }) {
    this.#keysTaken = parts.keysTaken
    this.#store = parts.store
    this.#crdt = parts.crdt
    this.#fs = parts.fs
    this.chunks = parts.chunks
    this.contents = parts.contents
  }

  /** Starts all of them; closes those that run when one fails. */
  static async start(data: ThreadData, options: VolumeThreadsOptions): Promise<VolumeThreads> {
    const keys = chunkKeysData(VolumeSecrets.decode(data.secrets))
    await guardIndex(data, options.onProblem)
    const store = StoreThread.launch({ directory: data.paths.packs, keys })
    const { port1: crdtPort, port2: fsPort } = new MessageChannel()
    const { generation, guide, policySuspects, pins } = options
    const ring = new ChunkKeyRing(keys)
    let taking = Promise.resolve()
    const onKeys = ({ secrets, current }: KeysEvent): void => {
      const keys = chunkKeysData(VolumeSecrets.decode(secrets), current)
      ring.update(keys)
      // A store that has ended needs none; its death is told.
      taking = store.setKeys(keys).catch(() => undefined)
      options.onKeys(secrets)
    }
    const starting = startCrdt({ ...data, generation, guide, fs: crdtPort }, options, onKeys)
    const begin = starting.then(({ ready }) => {
      const { role, labels } = ready.members
      return { coveredTo: ready.coveredTo, role, labels }
    })
    const fsData = { ...data, crdt: fsPort, store: store.port(), policySuspects, pins }
    const results = await Promise.allSettled([
      store.opened,
      starting,
      startFs(fsData, begin, options),
      StoreClient.connect(store.port()),
    ])
    const [, crdt, fs, chunks] = results
    if (fs.status === 'fulfilled' && crdt.status === 'fulfilled' && chunks.status === 'fulfilled') {
      const fetcher = { fetch: options.fetch }
      const contents = chunks.value.contents({ keys: ring, fetcher })
      indexIsOpen(data)
      const keysTaken = (): Promise<void> => taking
      const parts = { store, crdt: crdt.value, fs: fs.value, chunks: chunks.value }
      return new VolumeThreads({ ...parts, contents, keysTaken })
    }
    // The first failure is the cause of the others.
    const failed = results.find((result) => result.status === 'rejected')
    for (const part of [fs, crdt, chunks]) {
      if (part.status === 'fulfilled') await part.value.close()
    }
    await store.close()
    throw (failed as PromiseRejectedResult).reason
  }

  /** Methods of the crdt thread. */
  get crdt(): Rpc<CrdtApi> {
    return this.#crdt.rpc
  }

  /** Methods of the fs thread. */
  get fs(): Rpc<FsApi> {
    return this.#fs.rpc
  }

  /** Resolves when new chunks are sealed with the keys that the crdt thread told last. */
  keysTaken(): Promise<void> {
    return this.#keysTaken()
  }

  /** Closes all threads; tries every one, whatever fails. */
  async close(): Promise<void> {
    const errors: unknown[] = []
    for (const part of [this.#fs, this.#crdt, this.chunks, this.#store]) {
      try {
        await part.close()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, 'closing the threads of a volume')
  }
}

async function startCrdt(
  data: CrdtThreadData,
  options: VolumeThreadsOptions,
  onKeys: (event: KeysEvent) => void,
): Promise<WorkerThread<CrdtApi, CrdtReady>> {
  const thread = await startWorkerThread<CrdtApi, CrdtReady>({
    url: siblingModule(import.meta.url, './crdt-thread'),
    data,
    transfer: [data.fs],
    handlers: {},
    events: {
      members: (members: MembersData) => options.onMembers(members),
      keys: onKeys,
      problem: (problem: ProblemEvent) => options.onProblem(problem),
      wants: (event: WantsEvent) => options.onWants(event),
    },
    onDeath: options.onDeath,
  })
  options.onMembers(thread.ready.members)
  return thread
}

async function startFs(
  data: FsThreadData,
  begin: Promise<FsBegin>,
  options: VolumeThreadsOptions,
): Promise<WorkerThread<FsApi, object>> {
  const handlers: MainApi = {
    fetch: ({ addresses, priority }, { signal }) => options.fetch(addresses, { priority, signal }),
  }
  return startWorkerThread<FsApi, object>({
    url: siblingModule(import.meta.url, './fs-thread'),
    data,
    transfer: [data.crdt, data.store],
    begin,
    handlers,
    events: {
      problem: (problem: ProblemEvent) => options.onProblem(problem),
      wants: (event: WantsEvent) => options.onWants(event),
      policySuspects: (directories: InodeId[]) => options.onPolicySuspects(directories),
      unmounted: (end: { reason: string; message?: string }) => options.onUnmounted(end),
    },
    onDeath: options.onDeath,
  })
}
