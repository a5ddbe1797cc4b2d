/** What a tree shows, and whether that is what follows from its registers from scratch. */
import assert from 'node:assert/strict'
import { deviceNameOf } from '../../../src/crdt/contest.ts'
import { deriveTree, type DerivedTree, type Registers } from '../../../src/crdt/derive.ts'
import type { TreeReader } from '../../../src/crdt/interface.ts'
import type { Layer } from '../../../src/crdt/layer.ts'
import type { InodeRow } from '../../../src/crdt/records.ts'
import { LayerReader } from '../../../src/crdt/tree-reader.ts'
import type { FileName, InodeId } from '../../../src/types.ts'
import { textOf, type Device } from './world.ts'

/** Every visible path with what it shows: `/a/b=text`, `/a/`, `/l->target`. */
export function linesOf(reader: TreeReader): string[] {
  const lines: string[] = []
  const walk = (directory: InodeId, prefix: string): void => {
    for (const entry of listAll(reader, directory)) {
      const path = prefix + Buffer.from(entry.name, 'latin1').toString('utf8')
      const node = reader.node(entry.id)
      assert.ok(node, `${path} has no node`)
      const { content } = node
      if (content.kind === 'directory') {
        lines.push(`${path}/`)
        walk(entry.id, `${path}/`)
      } else if (content.kind === 'file') {
        lines.push(`${path}=${textOf(content.ref)}`)
      } else {
        lines.push(`${path}->${content.kind === 'symlink' ? content.target : content.fileType}`)
      }
    }
  }
  walk(reader.root, '/')
  return lines.sort()
}

export function listAll(reader: TreeReader, directory: InodeId): { id: InodeId; name: FileName }[] {
  const found: { id: InodeId; name: FileName }[] = []
  let after: string | undefined
  do {
    const page = reader.list(directory, { countMax: 3, ...(after === undefined ? {} : { after }) })
    found.push(...page.entries)
    after = page.next
  } while (after !== undefined)
  return found
}

/** Register values of everything in a layer. */
export function registersOf(device: Device, layer: Layer): Registers {
  const registers = new Map<InodeId, InodeRow>()
  for (const { key } of device.rows.reader().range('i')) {
    const id = key.slice(1) as InodeId
    const row = layer.inode(id)
    if (row) registers.set(id, row)
  }
  for (const row of layer.editedInodes()) registers.set(row.id, row)
  return registers
}

/** Compares the rows of a layer with the tree derived from scratch. */
export function checkLayer(device: Device, layer: Layer): void {
  const strategyOf = device.world.options.strategyOf ?? (() => 'copies' as const)
  const derived = deriveTree(registersOf(device, layer), {
    strategyOf,
    deviceNameOf: (op) => (op === '' ? 'unknown' : deviceNameOf(layer, op)),
  })
  compare(new LayerReader(layer), derived)
}

function compare(reader: TreeReader, derived: DerivedTree): void {
  const seen = new Set<InodeId>()
  let fileCount = 0
  const walk = (directory: InodeId, parent: InodeId): void => {
    assert.ok(!seen.has(directory), `directory ${directory} is shown twice`)
    seen.add(directory)
    const node = reader.node(directory)
    assert.ok(node)
    assert.equal(node.parent, parent)
    const expected = new Map(derived.directories.get(directory) ?? [])
    let subdirectories = 0
    for (const entry of listAll(reader, directory)) {
      const wanted = expected.get(entry.name)
      assert.ok(wanted, `${entry.name} in ${directory} should not be shown`)
      expected.delete(entry.name)
      assert.equal(entry.id, wanted.id, `${entry.name} in ${directory}`)
      assert.deepEqual(reader.lookup(directory, entry.name)?.id, entry.id)
      const shown = reader.node(entry.id)
      assert.ok(shown, `${entry.name} has no node`)
      if (shown.kind === 'directory') {
        subdirectories++
        walk(entry.id, directory)
      } else {
        if (wanted.version !== '') assert.equal(shown.version, wanted.version, entry.name)
        if (!shown.copyOf) assert.equal(shown.nlink, derived.files.get(entry.id), entry.name)
      }
    }
    assert.deepEqual([...expected.keys()], [], `missing in ${directory}`)
    assert.equal(node.nlink, 2 + subdirectories, `nlink of ${directory}`)
  }
  walk(reader.root, reader.root)
  for (const id of derived.files.keys()) {
    fileCount++
    assert.ok(reader.node(id), `live inode ${id} has no node`)
  }
  assert.equal(reader.fileCount, fileCount)
  for (const directory of derived.directories.keys()) {
    assert.ok(seen.has(directory), `directory ${directory} is not reachable`)
  }
}
