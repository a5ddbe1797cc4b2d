/**
 * The store thread: owns the packs of one volume, splits, seals and writes. Started by
 * `StoreThread`; never waits for the network itself: what a build lacks, a client fetches.
 */
import { workerData, type MessagePort } from 'node:worker_threads'
import { systemDisk } from '../disk.ts'
import { WormholeError } from '../errors.ts'
import { Rpc, serve, type MessagePortLike } from '../rpc.ts'
import { systemClock, systemRandom } from '../system.ts'
import type { ChunkAddress } from '../types.ts'
import { PackCollection } from './collection.ts'
import { LocalContents } from './content.ts'
import type { ChunkFetcher } from './interface.ts'
import { ChunkKeyRing, type ChunkKeysData } from './keys.ts'
import { PackWriter } from './packs.ts'
import { Scrub } from './scrub.ts'
import { storeMethods } from './service.ts'

/** What `StoreThread` gives the thread to start with. */
export interface StoreThreadData {
  readonly control: MessagePort
  readonly directory: string
  readonly keys: ChunkKeysData
}

/** What `StoreThread` may call. */
export type ControlMethods = {
  open: () => void
  setKeys: (keys: ChunkKeysData) => void
  close: () => Promise<void>
}

/** What a client may be asked. */
export type ClientMethods = {
  fetch: (args: {
    addresses: readonly ChunkAddress[]
    priority: 'foreground' | 'background'
  }) => Promise<void>
}

/** Opened chunks are only re-read here while a file is rebuilt. */
const CACHE_BYTES_MAX = 8 * 1024 * 1024

const { control, directory, keys } = workerData as StoreThreadData
const ring = new ChunkKeyRing(keys)
const clients = new Set<Rpc<ClientMethods>>()
let fetchingClient: Rpc<ClientMethods> | undefined
let opened:
  | {
      readonly store: PackWriter
      readonly contents: LocalContents
      readonly collection: PackCollection
      readonly scrub: Scrub
    }
  | undefined

const fetcher: ChunkFetcher = {
  async fetch(addresses, { priority, signal }) {
    if (!fetchingClient) {
      throw new WormholeError('CHUNK_UNAVAILABLE', `chunk ${addresses[0]} is not on this device`)
    }
    await fetchingClient.call('fetch', { addresses, priority }, { signal })
  },
}

function open(): void {
  const store = PackWriter.open({ disk: systemDisk, directory })
  const contents = new LocalContents({
    store,
    keys: ring,
    fetcher,
    cacheBytesMax: CACHE_BYTES_MAX,
  })
  const collection = new PackCollection({ store, keys: ring, clock: systemClock })
  const scrub = new Scrub({ store, clock: systemClock, random: systemRandom })
  opened = { store, contents, collection, scrub }
}

function attach(port: MessagePortLike): void {
  if (!opened) return port.close()
  const methods = storeMethods({
    ...opened,
    onFetcher: () => {
      fetchingClient = client
    },
  })
  const client = serve<ClientMethods>(port, methods)
  clients.add(client)
  client.onClose(() => {
    methods.abortAllStreams()
    clients.delete(client)
    if (fetchingClient === client) fetchingClient = undefined
  })
}

async function close(): Promise<void> {
  for (const client of [...clients]) client.close()
  await opened?.store.close()
  opened = undefined
}

const setKeys = (data: ChunkKeysData): void => ring.update(data)
const owner = serve(control, { open, setKeys, close } satisfies ControlMethods)
owner.on<MessagePort>('attach', attach)
