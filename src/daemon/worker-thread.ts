/** Starts a worker thread and waits until it says it is ready. */
import { Worker, type TransferListItem } from 'node:worker_threads'
import { errorFromData, type ErrorData } from '../errors.ts'
import { Rpc, type Handlers } from '../rpc.ts'

/** A running worker thread with its port. */
export interface WorkerThread<Api extends Handlers, Ready> {
  readonly rpc: Rpc<Api>
  /** What the thread said when it was ready. */
  readonly ready: Ready
  /** Ends the thread: first its method `close`, then the thread itself. */
  close(): Promise<void>
}

/**
 * Starts the thread at `url` with `data`; it emits `ready` or `failed` on its parent port.
 *
 * @param begin - what the thread gets as its event `begin`, when it is known: it can load its code
 *   until then. A rejection ends the thread.
 * @param onDeath - called when the thread ends without `close`: a bug, the volume cannot go on.
 * @throws what the thread reported, or the error it died of.
 */
export async function startWorkerThread<Api extends Handlers, Ready>(options: {
  readonly url: URL
  readonly data: object
  readonly transfer: readonly TransferListItem[]
  readonly begin?: Promise<object>
  readonly handlers: Handlers
  /** Listeners to the thread's events, heard from its first moment on. */
  readonly events: Readonly<Record<string, (value: never) => void>>
  readonly onDeath: (error: Error) => void
}): Promise<WorkerThread<Api, Ready>> {
  const worker = new Worker(options.url, {
    workerData: options.data,
    transferList: [...options.transfer],
    // A thread that serves a mount hands its descriptor to libuv, which closes it. Node would close
    // the same number again at the end of the thread, when it may be another thread's file.
    trackUnmanagedFds: false,
  })
  const rpc = new Rpc<Api>(worker as never, options.handlers)
  for (const [event, listener] of Object.entries(options.events)) rpc.on(event, listener)
  let isClosing = false
  let isReady = false
  const ready = await new Promise<Ready>((resolve, reject) => {
    const fail = (error: Error): void => {
      if (!isReady) reject(error)
      else if (!isClosing) options.onDeath(error)
    }
    options.begin?.then((value) => rpc.emit('begin', value), reject)
    rpc.on<Ready>('ready', (value) => {
      isReady = true
      resolve(value)
    })
    rpc.on<ErrorData>('failed', (data) => fail(errorFromData(data)))
    worker.on('error', (error) => fail(error as Error))
    worker.on('exit', (code) => fail(new Error(`a thread of the volume ended with code ${code}`)))
  }).catch(async (error: unknown) => {
    await worker.terminate()
    throw error
  })
  return {
    rpc,
    ready,
    close: async () => {
      isClosing = true
      try {
        await rpc.call('close' as never, undefined as never)
      } finally {
        await worker.terminate()
      }
    },
  }
}
