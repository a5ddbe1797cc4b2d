/**
 * One mounted connection to the kernel: takes requests, calls the file system, replies.
 *
 * An answer at hand is written before `receive` returns; a promise is remembered by the request's
 * unique number until it settles, and INTERRUPT aborts its signal. What the kernel holds (lookups,
 * open handles) is counted here, so that a connection that ends gives back everything exactly once:
 * the kernel sends neither FORGET nor RELEASE for what is left at an unmount.
 */
import { WormholeError } from '../../errors.ts'
import type { Clock } from '../../system.ts'
import { EAGAIN, errnoOf } from '../errno.ts'
import type { EntryReply, FileSystem, Reply } from '../interface.ts'
import type { CacheTimes } from './interface.ts'
import { OPERATIONS } from './operations.ts'
import { OPCODE, ROOT_NODE_ID } from './protocol.ts'
import { ReplyWriter, type ReplyDevice } from './reply.ts'
import { Caller, type RequestBuffer } from './request.ts'

/** What a session needs. */
export interface SessionOptions {
  readonly fileSystem: FileSystem
  readonly device: ReplyDevice
  readonly clock: Clock
  readonly cacheTimes: CacheTimes
  /** Told of each bug behind an `EIO`, with the name of the operation. */
  onBug(error: Error, operation: string): void
  /** The kernel and we have agreed (undefined), or cannot. Called once. */
  onReady(error: WormholeError | undefined): void
}

/** A request whose answer is a promise. */
interface Pending {
  readonly caller: Caller | undefined
  readonly done: Promise<void>
}

/** Operations whose requests the kernel does not want answered. */
const UNANSWERED = new Set<number>([
  OPCODE.FORGET,
  OPCODE.BATCH_FORGET,
  OPCODE.INTERRUPT,
  OPCODE.NOTIFY_REPLY,
])

/** The server side of one connection. */
export class Session {
  readonly fileSystem: FileSystem
  readonly replies: ReplyWriter
  readonly clock: Clock
  /** Open handles of files and of directories. */
  readonly files = new Set<number>()
  readonly directories = new Set<number>()
  /** Requests received. */
  requestCount = 0
  readonly #options: SessionOptions
  readonly #pending = new Map<number, Pending>()
  /** Node id → references the kernel holds. */
  readonly #lookups = new Map<number, number>()
  readonly #releasing = new Set<Promise<void>>()
  #isReady = false
  #isInterrupting = false
  readonly #counts = new Uint32Array(64)
  #ending: Promise<void> | undefined

  constructor(options: SessionOptions) {
    this.#options = options
    this.fileSystem = options.fileSystem
    this.clock = options.clock
    this.replies = new ReplyWriter(options.device, options.cacheTimes)
  }

  /**
   * Handles the first `length` bytes of `request` as one request, unless it has ended. Never
   * throws.
   */
  receive(request: RequestBuffer, length: number): void {
    if (this.#ending) return
    if (!request.load(length)) {
      this.#options.onBug(
        new Error(`the kernel sent ${length} bytes that are no request`),
        'receive',
      )
      return
    }
    const operation = OPERATIONS[request.opcode] ?? OPERATIONS[0]
    if (operation === undefined) return
    this.requestCount++
    this.#counts[request.opcode & 63]!++
    try {
      request.body(operation.bodyBytes)
      operation.handle(this, request)
    } catch (error) {
      this.#refuse(request.unique, request.opcode, error)
    }
  }

  /** How often each operation was asked for. */
  requestCounts(): Record<string, number> {
    const counts: Record<string, number> = {}
    for (const [opcode, count] of this.#counts.entries()) {
      if (count > 0) counts[OPERATIONS[opcode]?.name ?? String(opcode)] = count
    }
    return counts
  }

  /**
   * Answers `request` with `result` by `reply`, now or when the promise settles. `reply` must not
   * need the request any more; it is a plain function so that nothing is allocated on the spot.
   */
  answer<T>(
    request: RequestBuffer,
    result: Reply<T>,
    reply: (session: Session, unique: number, value: T) => void,
    caller?: Caller,
  ): void {
    const unique = request.unique
    if (!(result instanceof Promise)) {
      reply(this, unique, result)
      return
    }
    const done = this.#finish(unique, request.opcode, result, reply)
    this.#pending.set(unique, { caller, done })
    if (this.#isInterrupting) caller?.abort()
  }

  async #finish<T>(
    unique: number,
    opcode: number,
    result: Promise<T>,
    reply: (session: Session, unique: number, value: T) => void,
  ): Promise<void> {
    try {
      reply(this, unique, await result)
    } catch (error) {
      this.#refuse(unique, opcode, error)
    } finally {
      this.#pending.delete(unique)
    }
  }

  /** The reply to INIT has been written, or cannot be. */
  ready(error: WormholeError | undefined): void {
    if (this.#isReady) return
    this.#isReady = true
    this.#options.onReady(error)
  }

  /** INTERRUPT for an earlier request. If that is not here yet, the kernel asks again. */
  interrupt(interruptUnique: number, unique: number): void {
    const pending = this.#pending.get(unique)
    if (pending) pending.caller?.abort()
    else this.replies.errno(interruptUnique, EAGAIN)
  }

  /**
   * Aborts whatever waits, now and from now on. Before an unmount: read-ahead that is never
   * answered keeps its pages locked, and umount(8) would wait for them inside the kernel.
   */
  interruptAll(): void {
    this.#isInterrupting = true
    for (const { caller } of this.#pending.values()) caller?.abort()
  }

  /** Hands `entry` to the kernel: counts the reference, and takes it back if it does not arrive. */
  giveEntry(entry: EntryReply, wasSent: boolean): void {
    if (wasSent) this.#lookups.set(entry.nodeId, (this.#lookups.get(entry.nodeId) ?? 0) + 1)
    else this.fileSystem.forget(entry.nodeId, 1)
  }

  /** Hands an open file to the kernel, or releases it if it does not arrive. */
  giveFile(handle: number, wasSent: boolean): void {
    if (wasSent) this.files.add(handle)
    else this.#takeBack(() => this.fileSystem.release(handle), 'RELEASE')
  }

  /** As `giveFile`, for an open directory. */
  giveDirectory(handle: number, wasSent: boolean): void {
    if (wasSent) this.directories.add(handle)
    else this.#takeBack(() => this.fileSystem.releasedir(handle), 'RELEASEDIR')
  }

  /** The kernel gives back `count` references to a node. */
  forget(nodeId: number, count: number): void {
    if (nodeId === ROOT_NODE_ID) return
    const held = this.#lookups.get(nodeId) ?? 0
    const given = Math.min(held, count)
    if (given === held) this.#lookups.delete(nodeId)
    else this.#lookups.set(nodeId, held - given)
    if (given > 0) this.fileSystem.forget(nodeId, given)
  }

  /** Checks that a handle is open and was not given back. @throws {WormholeError} `BAD_HANDLE`. */
  checkHandle(handles: ReadonlySet<number>, handle: number): number {
    if (!handles.has(handle)) throw new WormholeError('BAD_HANDLE', `no open handle ${handle}`)
    return handle
  }

  /**
   * The connection is gone: aborts what is under way, waits for it, and releases every handle and
   * node. Replies must fail from now on (`ReplyDevice` returns false). Idempotent.
   */
  end(): Promise<void> {
    this.#ending ??= this.#end()
    return this.#ending
  }

  async #end(): Promise<void> {
    this.ready(new WormholeError('MOUNT_FAILED', 'the mount ended before it was ready'))
    this.interruptAll()
    await Promise.all([...this.#pending.values()].map(({ done }) => done))
    const { files, directories, fileSystem } = this
    for (const handle of files) this.#takeBack(() => fileSystem.release(handle), 'RELEASE')
    for (const handle of directories) {
      this.#takeBack(() => fileSystem.releasedir(handle), 'RELEASEDIR')
    }
    files.clear()
    directories.clear()
    await Promise.all(this.#releasing)
    for (const [nodeId, count] of this.#lookups) {
      await this.#attempt(() => fileSystem.forget(nodeId, count), 'FORGET')
    }
    this.#lookups.clear()
  }

  /** Starts a release that nobody asked for; `end` waits for it. */
  #takeBack(release: () => Reply<void>, operation: string): void {
    const done = this.#attempt(release, operation)
    this.#releasing.add(done)
    void done.then(() => this.#releasing.delete(done))
  }

  /** Runs one release; a failure is reported and does not stop the others. */
  async #attempt(run: () => Reply<void>, operation: string): Promise<void> {
    try {
      await run()
    } catch (error) {
      this.#report(error, operation)
    }
  }

  #refuse(unique: number, opcode: number, error: unknown): void {
    this.#report(error, OPERATIONS[opcode]?.name ?? `operation ${opcode}`)
    if (!UNANSWERED.has(opcode)) this.replies.errno(unique, errnoOf(error))
  }

  #report(error: unknown, operation: string): void {
    if (error instanceof WormholeError) return
    this.#options.onBug(error instanceof Error ? error : new Error(String(error)), operation)
  }
}
