/**
 * Proves that the file system behaves as a plain tree of Maps does, open handles, unlinked files
 * and hard links included, and that a crash older than 100 ms takes nothing but the handles. Seeded
 * random operations on one device, publication and crashes in between.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { WormholeError } from '../../../src/errors.ts'
import { SeededRandom } from '../../helpers/sim-clock.ts'
import { dumpTree, shortened } from '../../helpers/vfs-dump.ts'
import { CONTEXT, createWorld, name, ROOT, type VfsDevice } from '../../helpers/vfs-world.ts'

interface ModelNode {
  type: 'file' | 'directory'
  mode: number
  nlink: number
  bytes: Buffer
  entries: Map<string, ModelNode>
}

interface Open {
  handle: number
  node: ModelNode
}

const NAMES = ['a', 'b', 'c', 'd', 'e']

function createNode(type: ModelNode['type'], mode: number): ModelNode {
  return { type, mode, nlink: type === 'file' ? 1 : 2, bytes: Buffer.alloc(0), entries: new Map() }
}

/** A file system of Maps, as POSIX says. Failures are told by code. */
class Model {
  root = createNode('directory', 0o755)

  dump(node = this.root, path = '', lines = new Map<string, string>()): Map<string, string> {
    for (const [entry, child] of [...node.entries].sort()) {
      const type = child.type === 'file' ? 0o100000 : 0o040000
      const what = JSON.stringify(shortened(child.bytes.toString('latin1')))
      lines.set(`${path}/${entry}`, `${(type | child.mode).toString(8)} ${child.nlink} ${what}`)
      this.dump(child, `${path}/${entry}`, lines)
    }
    return lines
  }

  remove(parent: ModelNode, entry: string, type: ModelNode['type']): string | undefined {
    const node = parent.entries.get(entry)
    if (!node) return 'NOT_FOUND'
    if (type === 'file' && node.type === 'directory') return 'IS_DIRECTORY'
    if (type === 'directory' && node.type === 'file') return 'NOT_A_DIRECTORY'
    if (node.entries.size > 0) return 'NOT_EMPTY'
    parent.entries.delete(entry)
    if (type === 'directory') parent.nlink--
    else node.nlink--
    return undefined
  }

  contains(above: ModelNode, below: ModelNode): boolean {
    if (above === below) return true
    return [...above.entries.values()].some((child) => this.contains(child, below))
  }

  rename(from: [ModelNode, string], to: [ModelNode, string]): string | undefined {
    const node = from[0].entries.get(from[1])
    const target = to[0].entries.get(to[1])
    if (!node) return 'NOT_FOUND'
    if (node === target) return undefined
    if (node.type === 'directory' && this.contains(node, to[0])) return 'BAD_ARGUMENT'
    if (target) {
      if (node.type === 'file' && target.type === 'directory') return 'IS_DIRECTORY'
      if (node.type === 'directory' && target.type === 'file') return 'NOT_A_DIRECTORY'
      if (target.entries.size > 0) return 'NOT_EMPTY'
      this.remove(to[0], to[1], target.type)
    }
    from[0].entries.delete(from[1])
    to[0].entries.set(to[1], node)
    if (node.type === 'directory') {
      from[0].nlink--
      to[0].nlink++
    }
    return undefined
  }
}

/** Runs operations on both sides and compares outcomes. */
class Run {
  readonly device: VfsDevice
  readonly random: SeededRandom
  readonly model = new Model()
  readonly label: string
  opens: Open[] = []

  constructor(device: VfsDevice, seed: number) {
    this.device = device
    this.random = new SeededRandom(seed)
    this.label = `seed ${seed}`
  }

  /** A random directory: its model and its node id. */
  directory(): { node: ModelNode; nodeId: number } {
    let node = this.model.root
    let nodeId = ROOT
    while (this.random.below(2) === 0) {
      const names = [...node.entries].filter(([, child]) => child.type === 'directory')
      const [entry, child] = names[this.random.below(names.length || 1)] ?? []
      if (entry === undefined || child === undefined) break
      node = child
      nodeId = this.device.lookup(nodeId, entry)?.nodeId ?? assert.fail(`${this.label}: ${entry}`)
    }
    return { node, nodeId }
  }

  name(): string {
    return NAMES[this.random.below(NAMES.length)] as string
  }

  /** The code an operation fails with, or undefined. */
  async code(operation: () => unknown): Promise<string | undefined> {
    try {
      await operation()
      return undefined
    } catch (error) {
      if (error instanceof WormholeError) return error.code
      throw error
    }
  }

  async create(): Promise<void> {
    const { node, nodeId } = this.directory()
    const entry = this.name()
    if (node.entries.has(entry)) return
    const { handle } = this.device.create(nodeId, entry, 0o600)
    const made = createNode('file', 0o600)
    node.entries.set(entry, made)
    this.opens.push({ handle, node: made })
  }

  async open(): Promise<void> {
    const { node, nodeId } = this.directory()
    const [entry, child] = [...node.entries][this.random.below(node.entries.size || 1)] ?? []
    if (!entry || child?.type !== 'file') return
    const found = this.device.lookup(nodeId, entry) ?? assert.fail(`${this.label}: no ${entry}`)
    const isTruncating = this.random.below(5) === 0
    const handle = this.device.open(found.nodeId, isTruncating ? 0o1002 : 2)
    if (isTruncating) child.bytes = Buffer.alloc(0)
    this.opens.push({ handle, node: child })
  }

  async write(): Promise<void> {
    const open = this.opens[this.random.below(this.opens.length || 1)]
    if (!open) return
    const offset = this.random.below(3000)
    const bytes = Buffer.alloc(1 + this.random.below(800), 97 + this.random.below(26))
    await this.device.write(open.handle, offset, bytes)
    const size = Math.max(open.node.bytes.length, offset + bytes.length)
    open.node.bytes = Buffer.concat([open.node.bytes], size)
    open.node.bytes.set(bytes, offset)
  }

  /** A hole, or zeros that may make the file longer. */
  async zero(): Promise<void> {
    const open = this.opens[this.random.below(this.opens.length || 1)]
    if (!open) return
    const isHole = this.random.below(2) === 0
    const offset = this.random.below(3000)
    const length = 1 + this.random.below(1500)
    await this.device.fs.fallocate(CONTEXT, open.handle, offset, length, isHole ? 3 : 16)
    const before = open.node.bytes
    const size = isHole ? before.length : Math.max(before.length, offset + length)
    open.node.bytes = Buffer.concat([before], size)
    open.node.bytes.fill(0, Math.min(offset, size), Math.min(offset + length, size))
  }

  async copy(): Promise<void> {
    const from = this.opens[this.random.below(this.opens.length || 1)]
    const to = this.opens[this.random.below(this.opens.length || 1)]
    if (!from || !to || from.node === to.node) return
    const [offset, at] = [this.random.below(2000), this.random.below(2000)]
    const length = this.random.below(2000)
    const bytes = from.node.bytes.subarray(offset, offset + length)
    const source = { handle: from.handle, offset }
    const target = { handle: to.handle, offset: at }
    const count = await this.device.fs.copyRange?.(CONTEXT, source, target, length)
    assert.equal(count, bytes.length, this.label)
    if (bytes.length === 0) return
    const size = Math.max(to.node.bytes.length, at + bytes.length)
    to.node.bytes = Buffer.concat([to.node.bytes], size)
    to.node.bytes.set(bytes, at)
  }

  /** A file that gets its name after its first bytes. */
  async temporary(): Promise<void> {
    const { node, nodeId } = this.directory()
    const entry = this.name()
    const reply = await this.device.fs.temporary?.(CONTEXT, nodeId, 0o600, 2)
    if (!reply) assert.fail('no temporary files')
    const { handle } = reply.open
    const made = createNode('file', 0o600)
    made.bytes = Buffer.alloc(this.random.below(900), 't')
    await this.device.write(handle, 0, made.bytes)
    const code = await this.code(() =>
      this.device.fs.link(CONTEXT, reply.entry.nodeId, nodeId, name(entry)),
    )
    assert.equal(code, node.entries.has(entry) ? 'ALREADY_EXISTS' : undefined, this.label)
    if (code) made.nlink = 0
    else node.entries.set(entry, made)
    this.opens.push({ handle, node: made })
  }

  async readBack(): Promise<void> {
    const open = this.opens[this.random.below(this.opens.length || 1)]
    if (!open) return
    const text = await this.device.read(open.handle)
    assert.equal(text, open.node.bytes.toString('latin1'), this.label)
  }

  async close(): Promise<void> {
    const [open] = this.opens.splice(this.random.below(this.opens.length || 1), 1)
    if (open) this.device.close(open.handle)
  }

  async change(): Promise<void> {
    const { node, nodeId } = this.directory()
    const [entry, child] = [...node.entries][this.random.below(node.entries.size || 1)] ?? []
    if (!entry || !child) return
    const found = this.device.lookup(nodeId, entry) ?? assert.fail(`${this.label}: no ${entry}`)
    if (child.type === 'file' && this.random.below(2) === 0) {
      const sizeBytes = this.random.below(2000)
      await this.device.fs.setattr(CONTEXT, found.nodeId, { sizeBytes }, undefined)
      child.bytes = Buffer.concat([child.bytes.subarray(0, sizeBytes)], sizeBytes)
    } else {
      child.mode = this.random.below(0o1000)
      await this.device.fs.setattr(CONTEXT, found.nodeId, { mode: child.mode }, undefined)
    }
  }

  async link(): Promise<void> {
    const { node, nodeId } = this.directory()
    const to = this.directory()
    const [entry, child] = [...node.entries][this.random.below(node.entries.size || 1)] ?? []
    if (!entry || child?.type !== 'file') return
    const target = this.name()
    const found = this.device.lookup(nodeId, entry) ?? assert.fail(`${this.label}: no ${entry}`)
    const code = await this.code(() =>
      this.device.fs.link(CONTEXT, found.nodeId, to.nodeId, name(target)),
    )
    assert.equal(code, to.node.entries.has(target) ? 'ALREADY_EXISTS' : undefined, this.label)
    if (code) return
    to.node.entries.set(target, child)
    child.nlink++
  }

  async mkdir(): Promise<void> {
    const { node, nodeId } = this.directory()
    const entry = this.name()
    const code = await this.code(() => this.device.fs.mkdir(CONTEXT, nodeId, name(entry), 0o700))
    assert.equal(code, node.entries.has(entry) ? 'ALREADY_EXISTS' : undefined, this.label)
    if (code) return
    node.entries.set(entry, createNode('directory', 0o700))
    node.nlink++
  }

  async remove(): Promise<void> {
    const { node, nodeId } = this.directory()
    const entry = this.name()
    const type = this.random.below(2) === 0 ? 'file' : 'directory'
    const code = await this.code(() =>
      type === 'file'
        ? this.device.fs.unlink(CONTEXT, nodeId, name(entry))
        : this.device.fs.rmdir(CONTEXT, nodeId, name(entry)),
    )
    assert.equal(code, this.model.remove(node, entry, type), `${this.label}: remove ${entry}`)
  }

  async rename(): Promise<void> {
    const [from, to] = [this.directory(), this.directory()]
    const [entry, target] = [this.name(), this.name()]
    const code = await this.code(() =>
      this.device.fs.rename(
        CONTEXT,
        { parent: from.nodeId, name: name(entry) },
        { parent: to.nodeId, name: name(target) },
        0,
      ),
    )
    const expected = this.model.rename([from.node, entry], [to.node, target])
    assert.equal(code, expected, `${this.label}: rename ${entry} ${target}`)
  }

  async crash(): Promise<void> {
    await this.device.clock.run(100)
    await this.device.crash()
    this.opens = []
  }

  /**
   * Loses everything not synced. What is left is taken as the new truth; it must be the work of
   * this device alone: no conflict, nothing that came back from the dead.
   */
  async powerCut(): Promise<void> {
    await this.device.crash(this.device.journal.syncedTo)
    this.opens = []
    await this.device.drain()
    const lines = await dumpTree(this.device)
    for (const path of lines.keys()) {
      assert.ok(!path.includes('conflict') && !path.includes('recovered'), `${this.label}: ${path}`)
    }
    const byIno = new Map<number, ModelNode>()
    const walk = async (nodeId: number): Promise<ModelNode> => {
      const { ino, mode, nlink } = await this.device.fs.getattr(nodeId, undefined)
      const type = (mode & 0o170000) === 0o040000 ? 'directory' : 'file'
      const node = byIno.get(ino) ?? createNode(type, mode & 0o7777)
      byIno.set(ino, node)
      node.nlink = nlink
      if (type === 'file') {
        const handle = this.device.open(nodeId, 0)
        node.bytes = Buffer.from(await this.device.read(handle), 'latin1')
        this.device.close(handle)
        return node
      }
      for (const entry of await this.device.names(nodeId)) {
        const found = this.device.lookup(nodeId, entry) ?? assert.fail(`${this.label}: ${entry}`)
        node.entries.set(entry, await walk(found.nodeId))
      }
      return node
    }
    this.model.root = await walk(ROOT)
  }

  async step(): Promise<void> {
    const kind = this.random.below(111)
    if (kind >= 108) await this.temporary()
    else if (kind >= 105) await this.copy()
    else if (kind >= 101) await this.zero()
    else if (kind < 12) await this.create()
    else if (kind < 22) await this.open()
    else if (kind < 42) await this.write()
    else if (kind < 52) await this.readBack()
    else if (kind < 62) await this.close()
    else if (kind < 68) await this.change()
    else if (kind < 72) await this.link()
    else if (kind < 78) await this.mkdir()
    else if (kind < 86) await this.remove()
    else if (kind < 94) await this.rename()
    else if (kind < 96) await this.device.clock.run(this.random.below(200))
    else if (kind < 97) await this.device.drain()
    else if (kind < 98) await this.device.clock.run(5000 + this.random.below(70_000))
    else if (kind < 99) await this.crash()
    else if (kind < 100) await this.powerCut()
    else assert.deepEqual(await dumpTree(this.device), this.model.dump(), this.label)
  }
}

const STEPS = Number(process.env.VFS_MODEL_STEPS ?? 1200)
const SEEDS = (process.env.VFS_MODEL_SEEDS ?? '1,2,3').split(',').map(Number)

for (const seed of SEEDS) {
  test(`random operations equal a tree of Maps, seed ${seed}`, async () => {
    const [device] = (await createWorld(1, seed)) as [VfsDevice]
    const run = new Run(device, seed)
    for (let step = 0; step < STEPS; step++) await run.step()
    assert.deepEqual(await dumpTree(device), run.model.dump(), run.label)
    await device.drain()
    await run.crash()
    assert.deepEqual(await dumpTree(device), run.model.dump(), run.label)
    assert.deepEqual(device.problems, [])
  })
}
