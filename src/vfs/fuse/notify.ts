/**
 * Invalidations on their way to the kernel. The serving thread only collects them; a thread of its
 * own writes them, one at a time, because a write waits for directory and page locks that pending
 * requests hold (README.md, "Notifications").
 *
 * One batch is under way at a time. What is told meanwhile is collected without duplicates, so
 * memory is bounded by the number of different names and nodes.
 */
import { Worker } from 'node:worker_threads'
import type { FileName } from '../../types.ts'
import type { Clock } from '../../system.ts'
import type { SettlingNotifier } from './interface.ts'
import { HIGH, NOTIFY_INVAL_ENTRY, NOTIFY_INVAL_INODE, OUT_HEADER_BYTES } from './protocol.ts'

/** struct fuse_notify_inval_inode_out. */
const INVAL_INODE_BYTES = 24
/** struct fuse_notify_inval_entry_out without the name. */
const INVAL_ENTRY_BYTES = 16
/** Longest wait for the thread to end: it may be inside a write until the connection is gone. */
const STOP_MS_MAX = 5_000

/** What the thread is sent: whole notifications, each beginning with its length. */
export type NotifyRequest = { readonly batch: Uint8Array } | { readonly stop: true }
/** What it answers after each batch: how many the kernel refused for an unexpected reason. */
export interface NotifyReply {
  readonly unexpected: readonly string[]
}

/** The thread that writes, as the collector sees it. */
export interface NotifyThread {
  send(request: NotifyRequest): void
  onReply(handle: (reply: NotifyReply) => void): void
  /** Resolves when the thread has ended. */
  readonly ended: Promise<void>
}

/**
 * `notify-worker.ts` for an open device. It starts with the first batch: an empty thread costs
 * 50 ms of CPU, which nobody who waits for a mount should pay.
 */
export function startNotifyThread(
  url: URL,
  descriptor: number,
  onBug: (error: Error, operation: string) => void,
): NotifyThread {
  let worker: Worker | undefined
  let listener: (reply: NotifyReply) => void = () => {}
  let end!: () => void
  const ended = new Promise<void>((resolve) => (end = resolve))
  const start = (): Worker => {
    const started = new Worker(url, {
      workerData: { descriptor },
      execArgv: [],
      name: 'wormhole-notify',
      trackUnmanagedFds: false,
    })
    started.on('message', (reply) => listener(reply as NotifyReply))
    started.on('error', (error) => onBug(error as Error, 'notify'))
    started.once('exit', end)
    started.unref()
    return started
  }
  return {
    send: (request) => {
      if ('stop' in request && !worker) return end()
      worker ??= start()
      worker.postMessage(request)
    },
    onReply: (handle) => void (listener = handle),
    ended,
  }
}

/** Collects invalidations and feeds them to the thread. */
export class Notifier implements SettlingNotifier {
  readonly #thread: NotifyThread
  readonly #onBug: (error: Error, operation: string) => void
  #nodes = new Set<number>()
  /** Parent node id → names. */
  #names = new Map<number, Set<FileName>>()
  #isBusy = false
  #isScheduled = false
  #isStopped = false
  #waiting: Array<() => void> = []

  constructor(thread: NotifyThread, onBug: (error: Error, operation: string) => void) {
    this.#thread = thread
    this.#onBug = onBug
    thread.onReply((reply) => this.#written(reply))
    void thread.ended.then(() => this.#stopped())
  }

  invalidateInode(nodeId: number): void {
    if (this.#isStopped) return
    this.#nodes.add(nodeId)
    this.#schedule()
  }

  invalidateEntry(parentNodeId: number, name: FileName): void {
    if (this.#isStopped) return
    let names = this.#names.get(parentNodeId)
    if (!names) this.#names.set(parentNodeId, (names = new Set()))
    names.add(name)
    this.#schedule()
  }

  settled(): Promise<void> {
    if (this.#isStopped || (!this.#isBusy && !this.#isScheduled)) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /**
   * Ends the thread. Only when the connection is gone or will be.
   * @returns whether it has ended: only then may the descriptor be closed.
   */
  async stop(clock: Clock): Promise<boolean> {
    this.#stopped()
    this.#thread.send({ stop: true })
    return new Promise((resolve) => {
      const timer = clock.setTimer(STOP_MS_MAX, () => resolve(false))
      void this.#thread.ended.then(() => {
        timer.cancel()
        resolve(true)
      })
    })
  }

  /** Sends once per turn of the event loop, so that one change of many names is one message. */
  #schedule(): void {
    if (this.#isBusy || this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => this.#flush())
  }

  #flush(): void {
    this.#isScheduled = false
    if (this.#isStopped) return
    const batch = encodeBatch(this.#nodes, this.#names)
    this.#nodes = new Set()
    this.#names = new Map()
    this.#isBusy = true
    this.#thread.send({ batch })
  }

  #written(reply: NotifyReply): void {
    for (const text of reply.unexpected) this.#onBug(new Error(text), 'notify')
    this.#isBusy = false
    if (this.#nodes.size > 0 || this.#names.size > 0) this.#schedule()
    else this.#release()
  }

  #stopped(): void {
    this.#isStopped = true
    this.#nodes.clear()
    this.#names.clear()
    this.#release()
  }

  #release(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}

/** Encodes notifications one after the other, inodes first; each is one write(2) for the kernel. */
export function encodeBatch(
  nodes: ReadonlySet<number>,
  names: ReadonlyMap<number, ReadonlySet<string>>,
): Buffer {
  let total = nodes.size * (OUT_HEADER_BYTES + INVAL_INODE_BYTES)
  for (const group of names.values()) {
    for (const name of group) total += OUT_HEADER_BYTES + INVAL_ENTRY_BYTES + name.length + 1
  }
  const batch = Buffer.alloc(total)
  let at = 0
  for (const nodeId of nodes) {
    const length = OUT_HEADER_BYTES + INVAL_INODE_BYTES
    putHeader(batch, at, length, NOTIFY_INVAL_INODE, nodeId)
    at += length
  }
  for (const [parent, group] of names) {
    for (const name of group) {
      const length = OUT_HEADER_BYTES + INVAL_ENTRY_BYTES + name.length + 1
      putHeader(batch, at, length, NOTIFY_INVAL_ENTRY, parent)
      batch.writeUInt32LE(name.length, at + OUT_HEADER_BYTES + 8)
      batch.write(name, at + OUT_HEADER_BYTES + INVAL_ENTRY_BYTES, 'latin1')
      at += length
    }
  }
  return batch
}

/** struct fuse_out_header with unique 0, and the node id that both bodies begin with. */
function putHeader(batch: Buffer, at: number, length: number, code: number, nodeId: number): void {
  batch.writeUInt32LE(length, at)
  batch.writeInt32LE(code, at + 4)
  batch.writeUInt32LE(nodeId % HIGH, at + OUT_HEADER_BYTES)
  batch.writeUInt32LE(Math.floor(nodeId / HIGH), at + OUT_HEADER_BYTES + 4)
}
