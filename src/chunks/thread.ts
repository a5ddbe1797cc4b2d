/**
 * The store thread as its owner and its clients see it. The owner starts it and hands out ports;
 * each thread that uses chunks connects one `StoreClient` to a port.
 */
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads'
import { systemDisk } from '../disk.ts'
import { WormholeError } from '../errors.ts'
import { siblingModule } from '../module-url.ts'
import { connect, Rpc } from '../rpc.ts'
import type { ChunkAddress } from '../types.ts'
import { RemoteContents } from './client.ts'
import type { ChunkCollection } from './collection-interface.ts'
import { collectionClient } from './collection-rpc.ts'
import type { ChunkFetcher, ChunkKeys, ContentStore, SealedStore } from './interface.ts'
import type { ChunkKeysData } from './keys.ts'
import { PackReader, type PackHandle } from './packs.ts'
import type { ScrubReport } from './scrub.ts'
import type { StoreMethods } from './service.ts'
import type { ControlMethods, StoreThreadData } from './thread-main.ts'

/** The thread that owns the packs of one volume. */
export class StoreThread {
  readonly #worker: Worker
  readonly #control: Rpc<ControlMethods>
  readonly #ended: Promise<void>
  #isClosing = false

  /** Resolves when the packs are open. @throws {WormholeError} what `PackWriter.open` throws. */
  readonly opened: Promise<void>

  /**
   * Starts the thread, which opens (recovers) the packs in `directory`; the caller has locked it
   * and awaits `opened`. Ports may be handed out at once: clients wait for the opening.
   *
   * @param options.onDeath - called once if the thread ends without `close`; clients then fail with
   *   `VOLUME_CLOSED`.
   */
  static launch(options: {
    readonly directory: string
    readonly keys: ChunkKeysData
    readonly onDeath?: (error: Error) => void
  }): StoreThread {
    return new StoreThread(options)
  }

  /** As `launch`, and waits. @throws {WormholeError} what `PackWriter.open` throws. */
  static async start(options: Parameters<typeof StoreThread.launch>[0]): Promise<StoreThread> {
    const thread = StoreThread.launch(options)
    try {
      await thread.opened
    } catch (error) {
      await thread.close()
      throw error
    }
    return thread
  }

  private constructor(options: {
    readonly directory: string
    readonly keys: ChunkKeysData
    readonly onDeath?: (error: Error) => void
  }) {
    const { port1, port2 } = new MessageChannel()
    const { directory, keys } = options
    const data: StoreThreadData = { control: port2, directory, keys }
    this.#worker = new Worker(siblingModule(import.meta.url, './thread-main'), {
      workerData: data,
      transferList: [port2],
      name: 'store',
    })
    this.#control = connect<ControlMethods>(port1)
    let failure = new Error('the store thread ended by itself')
    this.#worker.on('error', (error) => {
      failure = error
    })
    this.#ended = new Promise((resolve) => {
      this.#worker.on('exit', () => {
        this.#control.close()
        if (!this.#isClosing) options.onDeath?.(failure)
        resolve()
      })
    })
    this.opened = this.#control.call('open')
  }

  /** A port for one more client; post it to the thread that will use it. */
  port(): MessagePort {
    const { port1, port2 } = new MessageChannel()
    this.#control.emit('attach', port1, [port1])
    return port2
  }

  /** Takes new key generations, after a rotation. Builds that begin once it resolved use them. */
  setKeys(keys: ChunkKeysData): Promise<void> {
    return this.#control.call('setKeys', keys)
  }

  /**
   * Syncs, closes the packs and ends the thread; clients fail with `VOLUME_CLOSED` from then
   * on.
   */
  async close(): Promise<void> {
    if (this.#isClosing) return this.#ended
    this.#isClosing = true
    try {
      await this.#control.call('close')
    } finally {
      this.#control.close()
      await this.#worker.terminate()
      await this.#ended
    }
  }
}

/** The store thread as another thread uses it: reads the packs itself, writes by message. */
export class StoreClient implements SealedStore {
  readonly #rpc: Rpc<StoreMethods>
  readonly #reader: PackReader
  readonly #checks = new Set<Promise<void>>()
  readonly #fetch: { fetcher?: ChunkFetcher }

  /** Connects to a port that `StoreThread.port` gave. */
  static async connect(port: MessagePort): Promise<StoreClient> {
    const fetch: { fetcher?: ChunkFetcher } = {}
    const rpc = new Rpc<StoreMethods>(port, {
      fetch: (
        args: { addresses: ChunkAddress[]; priority: 'foreground' | 'background' },
        { signal },
      ) => {
        const { addresses, priority } = args
        if (fetch.fetcher) return fetch.fetcher.fetch(addresses, { priority, signal })
        throw new WormholeError('CHUNK_UNAVAILABLE', `chunk ${addresses[0]} is not on this device`)
      },
    })
    return new StoreClient(rpc, await rpc.call('hello'), fetch)
  }

  private constructor(
    rpc: Rpc<StoreMethods>,
    handle: PackHandle,
    fetch: { fetcher?: ChunkFetcher },
  ) {
    this.#rpc = rpc
    this.#fetch = fetch
    this.#reader = new PackReader({
      disk: systemDisk,
      handle,
      onCorrupt: (address) => this.#requestCheck(address),
    })
  }

  has(address: ChunkAddress): boolean {
    return this.#reader.has(address)
  }

  getSync(address: ChunkAddress, scratch?: Buffer): Buffer | undefined {
    return this.#reader.getSync(address, scratch)
  }

  get(address: ChunkAddress): Promise<Buffer | undefined> {
    return this.#reader.get(address)
  }

  /**
   * Stores bytes from a peer after checking them. They are copied before this returns.
   *
   * @throws {WormholeError} `CHUNK_CORRUPT`, `DISK_FULL`, `WRITER_BROKEN`, `VOLUME_CLOSED`.
   */
  put(address: ChunkAddress, sealed: Uint8Array): Promise<void> {
    const own = new Uint8Array(sealed)
    return this.#rpc.call('put', { address, sealed: own }, { transfer: [own.buffer] })
  }

  /** Has chunks checked, and forgotten if they are damaged, so that they are fetched again. */
  async check(addresses: readonly ChunkAddress[]): Promise<void> {
    for (const address of addresses) await this.#rpc.call('check', { address })
  }

  /** Writes the index log anew from the packs. @throws {WormholeError} `IO_ERROR`. */
  rewriteIndex(): Promise<void> {
    return this.#rpc.call('rewriteIndex')
  }

  /** Garbage collection. Only one client of a store may use it. */
  get collection(): ChunkCollection {
    return collectionClient(this.#rpc)
  }

  /** Reads a share of the chunks again; what is damaged is forgotten. See `Scrub.run`. */
  scrub(bytesMax: number, signal: AbortSignal): Promise<ScrubReport> {
    return this.#rpc.call('scrub', { bytesMax }, { signal })
  }

  /** Everything put so far survives power loss. */
  sync(): Promise<void> {
    return this.#rpc.call('sync')
  }

  stats(): Promise<{ chunkCount: number; bytes: number }> {
    return this.#rpc.call('stats')
  }

  /** File contents. The fetcher also serves builds that lack chunks of their base. */
  contents(options: {
    readonly keys: ChunkKeys
    readonly fetcher?: ChunkFetcher | undefined
    readonly cacheBytesMax?: number | undefined
  }): ContentStore {
    const { fetcher } = options
    if (fetcher) {
      this.#fetch.fetcher = fetcher
      void this.#rpc.call('offerFetch').catch(ignoreClosed)
    }
    return new RemoteContents(this.#rpc, {
      ...options,
      store: this,
      fetcher: fetcher && {
        // A damaged chunk must be forgotten before anybody asks whether it is here.
        fetch: async (addresses, how) => {
          await Promise.all(this.#checks)
          await fetcher.fetch(addresses, how)
        },
      },
    })
  }

  #requestCheck(address: ChunkAddress): void {
    const check = this.#rpc
      .call('check', { address })
      .catch(ignoreClosed)
      .finally(() => this.#checks.delete(check))
    this.#checks.add(check)
  }

  close(): void {
    this.#rpc.close()
    this.#reader.close()
  }
}

/** Requests that nobody waits for: a closed store answers none. */
function ignoreClosed(error: unknown): void {
  if (error instanceof WormholeError) return
  throw error
}
