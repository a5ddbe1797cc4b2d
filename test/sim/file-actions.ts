/** What users of the simulator do with files: write, cut, hold open, save, read. */
import type { ActionName } from './options.ts'
import { check } from './failure.ts'
import { CELL_BYTES, type Deed } from './ledger.ts'
import { CONTEXT, name as nameOf } from '../helpers/vfs-user.ts'
import { isDirectory, RDWR, SimUser, Skip, TRUNC } from './user.ts'

/** One user operation. */
export type Action = (user: SimUser) => Promise<void> | void

const CELLS_MAX = 6
/** Enough for several chunks. */
const BIG_BYTES_MIN = 70_000
const BIG_BYTES_MAX = 700_000

function sizeBytes(user: SimUser): number {
  return CELL_BYTES * (1 + user.below(CELLS_MAX))
}

/** Writes a whole file, new or emptied. */
async function writeWhole(user: SimUser, bytes: number): Promise<void> {
  const { device, ledger } = user
  const parent = await user.directory()
  const entry = user.name()
  const found = user.target(parent, entry)
  if (found && !isRegular(found.attr.mode)) throw new Skip()
  const replaced = found ? user.shownAt(found, entry) : []
  const about = { replaced, line: ledger.newLine(), offset: 0, sizeBytes: bytes }
  const deed = user.noteWrite(about)
  user.say(`writes ${deed.token} as ${entry} in ${parent}`)
  const handle = found
    ? device.open(found.nodeId, RDWR | TRUNC)
    : device.create(parent, entry).handle
  await user.write(handle, deed)
  await user.finish(handle, [deed])
}

function isRegular(mode: number): boolean {
  return (mode & 0o170000) === 0o100000
}

/** Writes over a part of a file, maybe beyond its end. */
async function overwrite(user: SimUser): Promise<void> {
  const file = await user.file()
  const handle = user.device.open(file.nodeId, RDWR)
  let deeds: Deed[] = []
  try {
    const shown = user.shownBy(handle, file.entry)
    if (shown.deeds.length === 0) throw new Skip()
    const bytes = sizeBytes(user)
    const offset = CELL_BYTES * user.below(shown.bytes.length / CELL_BYTES)
    const replaced = user.ledger.onlyWithin(shown.bytes, offset, offset + bytes)
    const line = shown.deeds[0]?.line as number
    const deed = user.noteWrite({ replaced, line, offset, sizeBytes: bytes })
    user.say(`overwrites ${bytes} at ${offset} of ${file.entry} with ${deed.token}`)
    deeds = [deed]
    await user.write(handle, deed)
  } catch (error) {
    if (error instanceof Skip) user.device.close(handle)
    throw error
  }
  await user.finish(handle, deeds)
}

/** Opens a file and writes behind its end. Undefined when it may not be read. */
async function appendTo(user: SimUser, handle: number, entry: string): Promise<Deed> {
  const { deeds, bytes } = user.shownBy(handle, entry)
  const offset = bytes.length
  const line = deeds[0]?.line ?? user.ledger.newLine()
  const deed = user.noteWrite({ replaced: [], line, offset, sizeBytes: sizeBytes(user) })
  user.say(`appends ${deed.token} at ${offset} of ${entry}`)
  await user.write(handle, deed)
  return deed
}

async function openAndAppend(
  user: SimUser,
): Promise<{ handle: number; deed: Deed; file: { nodeId: number } }> {
  const file = await user.file()
  const handle = user.device.open(file.nodeId, RDWR)
  try {
    return { handle, file, deed: await appendTo(user, handle, file.entry) }
  } catch (error) {
    if (error instanceof Skip) user.device.close(handle)
    throw error
  }
}

async function append(user: SimUser): Promise<void> {
  const { handle, deed } = await openAndAppend(user)
  await user.finish(handle, [deed])
}

async function hold(user: SimUser): Promise<void> {
  const { handle, deed, file } = await openAndAppend(user)
  user.held.push({ handle, nodeId: file.nodeId, line: deed.line, deeds: [deed] })
}

/** Goes on with a file that is held open. */
async function useHeld(user: SimUser): Promise<void> {
  const held = user.pick(user.held)
  if (!held) throw new Skip()
  const kind = user.below(3)
  if (kind === 0) {
    const { nlink } = await user.device.fs.getattr(held.nodeId, held.handle)
    const deed = await appendTo(user, held.handle, 'a held file')
    // Another device has removed it meanwhile: it ends with its last handle.
    if (nlink === 0) deed.state = 'moot'
    else held.deeds.push(deed)
  } else if (kind === 1) {
    user.say('syncs a held file')
    await user.fsync(held.handle)
    for (const deed of held.deeds) if (deed.state !== 'moot') deed.state = 'safe'
  } else {
    user.say('closes a held file')
    user.release(held)
  }
}

async function truncate(user: SimUser): Promise<void> {
  const file = await user.file()
  const found = user.target(file.parent, file.entry)
  if (!found || found.nodeId !== file.nodeId) throw new Skip()
  const handle = user.device.open(found.nodeId, RDWR)
  try {
    const shown = user.shownBy(handle, file.entry)
    const size = CELL_BYTES * user.below(shown.bytes.length / CELL_BYTES + 3)
    user.say(`cuts ${file.entry} to ${size}`)
    user.noteRemoval(user.ledger.onlyWithin(shown.bytes, size, Infinity))
    user.device.fs.setattr(CONTEXT, found.nodeId, { sizeBytes: size }, handle)
  } finally {
    if (user.device.isAlive) user.device.close(handle)
  }
}

/** As editors save: a new file, renamed over the old one, which keeps its inode. */
async function saveByRename(user: SimUser): Promise<void> {
  const { device, ledger } = user
  const file = await user.file()
  const temporary = `save-${user.below(1000)}`
  if (device.lookup(file.parent, temporary)) throw new Skip()
  const about = { replaced: [], line: ledger.newLine(), offset: 0, sizeBytes: sizeBytes(user) }
  const deed = user.noteWrite(about)
  user.say(`saves ${deed.token} as ${file.entry} by rename`)
  const { nodeId, handle } = device.create(file.parent, temporary)
  await user.write(handle, deed)
  await user.finish(handle, [deed])
  const target = user.target(file.parent, file.entry)
  const source = user.target(file.parent, temporary)
  if (!target || source?.nodeId !== nodeId) throw new Skip()
  user.letGo(target.nodeId)
  const replaced = user.shownAt(target, file.entry)
  ledger.replace(deed, replaced)
  const path = [...user.path, file.entry]
  const before = user.inodeAt(path)
  const from = { parent: file.parent, name: nameOf(temporary) }
  device.fs.rename(CONTEXT, from, { parent: file.parent, name: nameOf(file.entry) }, 0)
  const isPlain = target.attr.nlink === 1 && source.attr.nlink === 1
  check(!isPlain || user.inodeAt(path) === before, 'inode', () => {
    return `saving ${file.entry} by rename on ${device.name} made it another inode`
  })
}

/** A file that is gone before anybody could want it. */
async function temporary(user: SimUser): Promise<void> {
  const { device, ledger } = user
  const parent = await user.directory()
  const entry = `tmp-${device.name}-${user.temporaries.length}`
  user.say(`makes and removes ${entry}`)
  const made = { name: entry, atMs: device.clock.monotonicMs(), isUnsure: true }
  user.temporaries.push(made)
  const deed = user.noteWrite({
    replaced: [],
    line: ledger.newLine(),
    offset: 0,
    sizeBytes: CELL_BYTES,
  })
  const { handle } = device.create(parent, entry)
  void device.fs.write(CONTEXT, handle, 0, ledger.bytesOf(deed))
  device.close(handle)
  user.noteRemoval([deed])
  void device.fs.unlink(CONTEXT, parent, nameOf(entry))
  deed.state = 'moot'
  made.isUnsure = false
}

/** Reads a file, wherever its bytes are. */
async function read(user: SimUser): Promise<void> {
  const file = await user.file()
  await user.bring(file.nodeId)
  const found = user.device.lookup(file.parent, file.entry)
  if (found && !isDirectory({ mode: found.attr.mode })) user.shownAt(found, file.entry)
}

/** Operations on files, by name. */
export const FILE_ACTIONS = {
  write: (user) => writeWhole(user, sizeBytes(user)),
  big: (user) => {
    const bytes = BIG_BYTES_MIN + user.below(BIG_BYTES_MAX - BIG_BYTES_MIN)
    return writeWhole(user, bytes - (bytes % CELL_BYTES))
  },
  overwrite,
  append,
  hold,
  useHeld,
  truncate,
  saveByRename,
  temporary,
  read,
  sync: (user) => user.sync(),
  drain: (user) => user.drain(),
} satisfies Partial<Record<ActionName, Action>>
