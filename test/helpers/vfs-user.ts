/** The calls of a file system as programs make them. */
import { nameFromText } from '../../src/types.ts'
import type { EntryReply, FileSystem, RequestContext } from '../../src/vfs/interface.ts'

/** Who asks in tests: an ordinary user. */
export const CONTEXT: RequestContext = {
  uid: 1000,
  gid: 1000,
  pid: 1,
  umask: 0o022,
  signal: () => new AbortController().signal,
}

export const ROOT = 1

/** A name from text. */
export const name = nameFromText

/** Somebody who uses a file system: the tests' devices are. */
export abstract class VfsUser {
  abstract get fs(): FileSystem

  lookup(parent: number, entry: string): EntryReply | undefined {
    return this.fs.lookup(CONTEXT, parent, name(entry)) as EntryReply | undefined
  }

  /** Looks a path up from the root. */
  find(path: string): EntryReply | undefined {
    let found: EntryReply | undefined
    let parent = ROOT
    for (const part of path.split('/').filter((piece) => piece !== '')) {
      found = this.lookup(parent, part)
      if (!found) return undefined
      parent = found.nodeId
    }
    return found
  }

  /** Creates a file, opened for reading and writing. */
  create(parent: number, entry: string, mode = 0o644): { nodeId: number; handle: number } {
    const made = this.fs.create(CONTEXT, parent, name(entry), mode, 2)
    const { entry: reply, open } = made as Exclude<typeof made, Promise<unknown>>
    return { nodeId: reply.nodeId, handle: open.handle }
  }

  open(nodeId: number, flags = 2): number {
    return (this.fs.open(CONTEXT, nodeId, flags) as { handle: number }).handle
  }

  async write(
    handle: number,
    offset: number,
    text: string | Buffer,
    isAppending = false,
  ): Promise<void> {
    await this.fs.write(CONTEXT, handle, offset, Buffer.from(text), isAppending)
  }

  async read(handle: number, offset = 0, length = 1 << 20): Promise<string> {
    const pieces = await this.fs.read(CONTEXT, handle, offset, length)
    return Buffer.concat(pieces).toString('latin1')
  }

  close(handle: number): void {
    void this.fs.flush(handle)
    void this.fs.release(handle)
  }

  /** Writes a whole file by path in the root, as `echo text > name` does. */
  async put(entry: string, text: string, parent = ROOT): Promise<number> {
    const found = this.lookup(parent, entry)
    if (found) {
      const handle = this.open(found.nodeId, 1 | 0o1000)
      await this.write(handle, 0, text)
      this.close(handle)
      return found.nodeId
    }
    const { nodeId, handle } = this.create(parent, entry)
    await this.write(handle, 0, text)
    this.close(handle)
    return nodeId
  }

  /** Reads a whole file by path, as `cat` does. */
  async cat(path: string): Promise<string | undefined> {
    const found = this.find(path)
    if (!found) return undefined
    const handle = this.open(found.nodeId, 0)
    const text = await this.read(handle)
    this.close(handle)
    return text
  }

  /** The names in a directory, sorted, without the dots. */
  async names(nodeId = ROOT): Promise<string[]> {
    const handle = await this.fs.opendir(nodeId)
    const names: string[] = []
    for (let offset = 0; ;) {
      const entries = await this.fs.readdir(handle, offset, 100)
      if (entries.length === 0) break
      for (const entry of entries) names.push(entry.name)
      offset = entries[entries.length - 1]?.nextOffset ?? 0
    }
    void this.fs.releasedir(handle)
    return names.filter((entry) => entry !== '.' && entry !== '..').sort()
  }
}
