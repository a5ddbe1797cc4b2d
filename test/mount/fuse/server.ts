/**
 * The serving side of the mount tests: a `MemoryFileSystem` with a few names that misbehave on
 * purpose, driven by messages. Runs in a worker thread, or as a process of its own to be killed.
 *
 * Names: creating `slow…` takes a while and calls the disk meanwhile; reading `hanging` is never
 * answered, unless interrupted; looking up `buggy` throws a plain error.
 */
import fs from 'node:fs'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { WormholeError } from '../../../src/errors.ts'
import { systemClock, systemRandom } from '../../../src/system.ts'
import type { FileName } from '../../../src/types.ts'
import type { CacheTimes, ServedMount, TransportKind } from '../../../src/vfs/fuse/interface.ts'
import { serveMount } from '../../../src/vfs/fuse/serve.ts'
import type { EntryReply, OpenReply, Reply, RequestContext } from '../../../src/vfs/interface.ts'
import { MemoryFileSystem } from '../../helpers/memory-filesystem.ts'

/** What a server is started with. */
export interface ServerData {
  readonly directory: string
  readonly transport?: TransportKind
  readonly cacheTimes?: CacheTimes
  readonly allowsNonEmpty?: boolean
}

/** A question to the server, and its answer. */
export interface ServerRequest {
  readonly id: number
  readonly call: string
  readonly parameters: readonly unknown[]
}
export interface ServerReply {
  readonly id: number
  readonly value?: unknown
  readonly error?: { readonly message: string; readonly code: string | undefined }
}

const ROOT = 1
const SLOW_MS = 100
const NOBODY: RequestContext = {
  uid: 0,
  gid: 0,
  pid: 0,
  umask: 0,
  signal: () => new AbortController().signal,
}

class TestFileSystem extends MemoryFileSystem {
  readonly counts = { lookups: 0, forgets: 0, released: 0 }
  /** Told of creations of `slow…`, before they wait. */
  onSlowCreate: () => void = () => undefined

  override lookup(
    context: RequestContext,
    parent: number,
    name: FileName,
  ): Reply<EntryReply | undefined> {
    this.counts.lookups += 1
    if (name === 'buggy') throw new Error('a planted bug')
    return super.lookup(context, parent, name)
  }

  override create(
    context: RequestContext,
    parent: number,
    name: FileName,
    mode: number,
    flags: number,
  ): Reply<{ entry: EntryReply; open: OpenReply }> {
    if (!name.startsWith('slow')) return super.create(context, parent, name, mode, flags)
    this.onSlowCreate()
    return this.#createSlowly(context, parent, name, mode, flags)
  }

  async #createSlowly(
    ...parameters: [RequestContext, number, FileName, number, number]
  ): Promise<{ entry: EntryReply; open: OpenReply }> {
    await new Promise((resolve) => setTimeout(resolve, SLOW_MS))
    await fs.promises.stat('/proc/self')
    return super.create(...parameters)
  }

  override read(
    context: RequestContext,
    handle: number,
    offset: number,
    length: number,
  ): Reply<readonly Buffer[]> {
    const node = this.handles.get(handle)
    if (!node || node.attributes.get('user.test')?.toString() !== 'hanging') {
      return super.read(context, handle, offset, length)
    }
    const signal = context.signal()
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(new WormholeError('ABORTED', 'interrupted')))
    })
  }

  override release(handle: number): Reply<void> {
    this.counts.released += 1
    return super.release(handle)
  }

  /**
   * A version from elsewhere: bytes under an existing name of the root, in a node of a new id that
   * shows the old inode number. The old node keeps what it has.
   */
  replaceVersion(name: FileName, bytes: Uint8Array): void {
    const root = this.node(ROOT)
    const old = root.children.get(name)?.node
    if (!old) throw new Error(`no ${name} to replace`)
    const temporary = `.${name}.new` as FileName
    const made = this.makeBehind(temporary, bytes)
    super.rename(NOBODY, { parent: ROOT, name: temporary }, { parent: ROOT, name }, 0)
    made.attr.ino = old.attr.ino
  }

  /** Makes a file in the root without a reference of the kernel. */
  makeBehind(name: FileName, bytes: Uint8Array): { attr: { ino: number } } {
    const made = super.create(NOBODY, ROOT, name, 0o644, 0)
    if (made instanceof Promise) throw new Error('creation is synchronous here')
    super.write(NOBODY, made.open.handle, 0, Buffer.from(bytes))
    super.release(made.open.handle)
    super.forget(made.entry.nodeId, 1)
    return { attr: made.entry.attr }
  }
}

/** The questions that tests may ask. */
function commands(
  fileSystem: TestFileSystem,
  mount: ServedMount,
  bugs: string[],
): Record<string, (...parameters: never[]) => unknown> {
  return {
    transport: () => mount.transport,
    invalidateEntry: (name: string) => {
      mount.notifier.invalidateEntry(ROOT, name as FileName)
      return mount.notifier.settled()
    },
    /** Changes a file behind the kernel's back. */
    overwrite: (name: string, text: string) => {
      const node = fileSystem.node(ROOT).children.get(name as FileName)?.node
      if (!node) throw new Error(`no ${name}`)
      node.pages.truncate(0)
      node.pages.write(0, Buffer.from(text))
      node.attr.sizeBytes = text.length
      return node.nodeId
    },
    /** Makes a file that the kernel is not told of. */
    makeBehind: (name: string) => fileSystem.makeBehind(name as FileName, Buffer.alloc(0)),
    invalidateInode: (nodeId: number) => {
      mount.notifier.invalidateInode(nodeId)
      return mount.notifier.settled()
    },
    /** The next slow creation is accompanied by this many invalidations of its directory. */
    stormDuringCreate: (count: number) => {
      fileSystem.onSlowCreate = () => {
        for (let index = 0; index < count; index++) {
          mount.notifier.invalidateEntry(ROOT, `known${index}` as FileName)
        }
      }
    },
    settled: () => mount.notifier.settled(),
    replaceVersion: (name: string, bytes: Uint8Array) => {
      fileSystem.replaceVersion(name as FileName, bytes)
      mount.notifier.invalidateEntry(ROOT, name as FileName)
      return mount.notifier.settled()
    },
    bugs: () => bugs,
    requestCounts: () => mount.requestCounts(),
    cpuMicros: () => {
      const { user, system } = process.cpuUsage()
      return user + system
    },
    close: () => mount.close(),
    ended: async () => {
      const { reason, error } = await mount.ended
      return error ? `${reason}: ${error.message}` : reason
    },
    /** What is still referenced: only the root's own lookup once everything is given back. */
    leftovers: () => ({
      handles: fileSystem.handles.size,
      directoryHandles: fileSystem.directoryHandles.size,
      lookups: [...fileSystem.nodes.values()].reduce((sum, node) => sum + node.lookups, 0),
    }),
    released: () => fileSystem.counts.released,
  }
}

async function start(data: ServerData): Promise<ReturnType<typeof commands>> {
  const fileSystem = new TestFileSystem()
  const bugs: string[] = []
  const mount = await serveMount({
    ...data,
    fsName: 'memory',
    fileSystem,
    clock: systemClock,
    random: systemRandom,
    notifyWorkerUrl: new URL('./boot.mjs', import.meta.url),
    onBug: (error, operation) => bugs.push(`${operation}: ${error.message}`),
  })
  return commands(fileSystem, mount, bugs)
}

type Started = { table: ReturnType<typeof commands> } | { error: unknown }

async function answer(
  started: Promise<Started>,
  { id, call, parameters }: ServerRequest,
): Promise<ServerReply> {
  try {
    const result = await started
    if ('error' in result) throw result.error
    return { id, value: await result.table[call]?.(...(parameters as never[])) }
  } catch (error) {
    return { id, error: { message: String(error), code: (error as WormholeError).code } }
  }
}

if (isMainThread) {
  await start({ directory: process.argv[3] as string })
  process.stdout.write('mounted\n')
} else if (parentPort) {
  const port = parentPort
  const started = start((workerData as { server: ServerData }).server).then(
    (table) => ({ table }),
    (error: unknown) => ({ error }),
  )
  port.on('message', (request: ServerRequest) => {
    void answer(started, request).then((reply) => port.postMessage(reply))
  })
}
