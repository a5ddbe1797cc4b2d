/**
 * Composition of one kernel mount on the thread that calls it: mount point, unmounter, device,
 * transport, session, notification thread.
 *
 * Order of the end, which must never be broken: the connection ends, replies are cut, the session
 * gives everything back, the notification thread ends, and only then the descriptor is closed,
 * since its number may then come to mean another file.
 */
import fs from 'node:fs'
import { WormholeError } from '../../errors.ts'
import { sleep, type Clock } from '../../system.ts'
import type { CacheTimes, MountEnd, ServedMount, ServeOptions } from './interface.ts'
import {
  attach,
  checkMountPoint,
  mountSource,
  repairStale,
  unmount,
  widenReadAhead,
} from './mount.ts'
import { Notifier, startNotifyThread } from './notify.ts'
import { Session } from './session.ts'
import { FuseDevice, startTransport, type Transport } from './transport.ts'
import { startUnmounter, type Unmounter } from './unmounter.ts'

/** A day: every change is notified, the bound is for what nobody foresaw. */
const CACHE_TIMES: CacheTimes = { entryS: 86_400, negativeS: 86_400, attributesS: 86_400 }
/** Bytes of the random tag in the mount's source. */
const TAG_BYTES = 6
/** Longest wait for the kernel's INIT after mount(8) has returned. */
const READY_MS_MAX = 10_000
const GRACE_MS = 2_000
/** How often a busy mount is tried again while the grace lasts. */
const RETRY_MS = 100
/** How long the kernel may take to end a connection that has been unmounted. */
const DETACHED_MS_MAX = 1_000

/**
 * Mounts a file system and serves it on this thread (a worker thread, never one that touches the
 * mount synchronously). Resolves when the kernel has agreed on the protocol.
 *
 * Start the worker with `trackUnmanagedFds: false`: Node would otherwise close the device's number
 * a second time when the worker ends.
 *
 * @throws {WormholeError} `MOUNT_UNAVAILABLE` (this machine or user cannot mount), `MOUNT_FAILED`
 *   (this directory cannot be a mount point). Nothing is left behind in either case.
 */
export async function serveMount(options: ServeOptions): Promise<ServedMount> {
  const { clock, onBug } = options
  const place = await checkMountPoint(options, clock)
  const source = mountSource(options.fsName, options.random.bytes(TAG_BYTES))
  const unmounter = startUnmounter({ directory: place, source, onBug })
  let descriptor: number | undefined
  let mount
  try {
    descriptor = await attach(place, source, options)
    mount = new Mount(options, place, descriptor, unmounter)
  } catch (error) {
    unmounter.dismiss()
    if (descriptor !== undefined) {
      await unmount(place, { isForced: true })
      fs.closeSync(descriptor)
    }
    throw error
  }
  await mount.ready()
  await widenReadAhead(place, (error) => onBug(error, 'read-ahead'))
  return mount
}

class Mount implements ServedMount {
  readonly directory: string
  readonly notifier: Notifier
  readonly ended: Promise<MountEnd>
  readonly #clock: Clock
  readonly #onBug: (error: Error, operation: string) => void
  readonly #unmounter: Unmounter
  readonly #device: FuseDevice
  readonly #session: Session
  readonly #transport: Transport
  readonly #readiness: Promise<WormholeError | undefined>
  #break: (error: Error | undefined) => void = () => undefined
  #isClosing = false
  #isEnded = false
  #closing: Promise<void> | undefined

  constructor(options: ServeOptions, directory: string, descriptor: number, unmounter: Unmounter) {
    const { clock, fileSystem, onBug } = options
    this.directory = directory
    this.#clock = clock
    this.#onBug = onBug
    this.#unmounter = unmounter
    this.#device = new FuseDevice(descriptor, onBug)
    const workerUrl = options.notifyWorkerUrl ?? new URL('./notify-worker.js', import.meta.url)
    this.notifier = new Notifier(startNotifyThread(workerUrl, descriptor, onBug), onBug)
    let settleReady: (error: WormholeError | undefined) => void = () => undefined
    this.#readiness = new Promise((resolve) => (settleReady = resolve))
    const session = new Session({
      fileSystem,
      device: this.#device,
      clock,
      cacheTimes: options.cacheTimes ?? CACHE_TIMES,
      onBug,
      onReady: settleReady,
    })
    this.#session = session
    const broken = new Promise<Error | undefined>((resolve) => (this.#break = resolve))
    this.#transport = startTransport(
      {
        descriptor,
        clock,
        onRequest: (request, length) => session.receive(request, length),
        onEnd: (error) => this.#break(error),
      },
      options.transport,
    )
    this.ended = broken.then((error) => this.#end(error))
  }

  requestCounts(): Record<string, number> {
    return this.#session.requestCounts()
  }

  requestCount(): number {
    return this.#session.requestCount
  }

  get transport(): ServedMount['transport'] {
    return this.#transport.kind
  }

  /** Waits for INIT. @throws {WormholeError} after unmounting, if it does not come or not agree. */
  async ready(): Promise<void> {
    const failure = await new Promise<WormholeError | undefined>((resolve) => {
      const timer = this.#clock.setTimer(READY_MS_MAX, () => {
        resolve(new WormholeError('MOUNT_FAILED', `the kernel does not serve ${this.directory}`))
      })
      void this.#readiness.then((error) => {
        timer.cancel()
        resolve(error)
      })
    })
    if (!failure) return
    await this.close({ graceMs: 0 })
    throw failure
  }

  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.graceMs ?? GRACE_MS)
    return this.#closing
  }

  async #close(graceMs: number): Promise<void> {
    this.#isClosing = true
    this.#session.interruptAll()
    // Detached by somebody else, or stuck in the kernel, it lives on: closing the device ends it.
    const timer = this.#clock.setTimer(graceMs + DETACHED_MS_MAX, () => this.#break(undefined))
    const deadlineMs = this.#clock.monotonicMs() + graceMs
    for (let isForced = false; !this.#isEnded && !isForced;) {
      isForced = this.#clock.monotonicMs() >= deadlineMs
      try {
        await Promise.race([this.#unmounter.unmount({ isForced }), this.ended])
        break
      } catch (error) {
        if (isForced) this.#onBug(asError(error), 'unmount')
        else await Promise.race([sleep(this.#clock, RETRY_MS), this.ended])
      }
    }
    await this.ended
    timer.cancel()
  }

  /** The connection is gone: gives everything back in order. */
  async #end(error: Error | undefined): Promise<MountEnd> {
    this.#isEnded = true
    this.#device.cut()
    let failure = error
    try {
      await this.#session.end()
      const mayClose = await this.notifier.stop(this.#clock)
      if (mayClose) await this.#transport.close()
      // A connection that was aborted leaves its dead mount behind.
      if (!this.#isClosing && (await repairStale(this.directory, this.#clock))) {
        failure ??= new Error('the connection was aborted')
      }
      this.#unmounter.dismiss()
    } catch (problem) {
      this.#onBug(asError(problem), 'end')
    }
    if (failure) return { reason: 'failed', error: failure }
    return { reason: this.#isClosing ? 'closed' : 'unmounted' }
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}
