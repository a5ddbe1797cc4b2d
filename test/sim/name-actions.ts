/** What users of the simulator do with names, attributes, policies and conflicts. */
import type { ConflictView } from '../../src/crdt/interface.ts'
import { POLICY_FILE_NAME } from '../../src/policy/parse.ts'
import { RENAME_EXCHANGE } from '../../src/vfs/interface.ts'
import { CONTEXT, name as nameOf } from '../helpers/vfs-user.ts'
import type { Action } from './file-actions.ts'
import type { Deed } from './ledger.ts'
import type { ActionName } from './options.ts'
import { isDirectory, SimUser, Skip, TRUNC } from './user.ts'

const POLICIES = [
  '[conflicts]\nstrategy = "last-writer-wins"\n',
  '[conflicts]\nstrategy = "copies"\n',
  '[local]\nkeep = "cached"\n',
  '# nothing\n',
  '[conflicts]\nstrategy = "mistake"\n',
]

async function remove(user: SimUser): Promise<void> {
  const file = await user.file()
  const found = user.target(file.parent, file.entry)
  if (!found) throw new Skip()
  user.say(`removes ${file.entry}`)
  user.letGo(found.nodeId)
  user.noteRemoval(user.shownAt(found, file.entry))
  void user.device.fs.unlink(CONTEXT, file.parent, nameOf(file.entry))
}

async function rename(user: SimUser): Promise<void> {
  const [from, to] = [await user.directory(), await user.directory()]
  const source = user.pick(await user.entries(from))
  if (!source) throw new Skip()
  const entry = user.below(4) === 0 ? `r${user.below(1000)}` : user.name()
  const target = user.target(to, entry)
  const now = user.device.lookup(from, source.entry)
  if (now?.nodeId !== source.nodeId) throw new Skip()
  user.say(`renames ${source.entry} in ${from} to ${entry} in ${to}`)
  if (target && target.nodeId !== source.nodeId && !isDirectory(source)) {
    user.letGo(target.nodeId)
    user.noteRemoval(user.shownAt(target, entry))
  }
  const place = { parent: from, name: nameOf(source.entry) }
  await user.device.fs.rename(CONTEXT, place, { parent: to, name: nameOf(entry) }, 0)
}

async function exchange(user: SimUser): Promise<void> {
  const [from, to] = [await user.directory(), await user.directory()]
  const one = user.pick(await user.entries(from))
  const other = user.pick(await user.entries(to))
  if (!one || !other) throw new Skip()
  user.say(`exchanges ${one.entry} in ${from} and ${other.entry} in ${to}`)
  await user.device.fs.rename(
    CONTEXT,
    { parent: from, name: nameOf(one.entry) },
    { parent: to, name: nameOf(other.entry) },
    RENAME_EXCHANGE,
  )
}

async function makeDirectory(user: SimUser): Promise<void> {
  const parent = await user.directory()
  const entry = user.name()
  if (user.device.lookup(parent, entry)) throw new Skip()
  user.say(`makes directory ${entry} in ${parent}`)
  await user.device.fs.mkdir(CONTEXT, parent, nameOf(entry), 0o755)
}

async function removeDirectory(user: SimUser): Promise<void> {
  const parent = await user.directory()
  const directory = user.pick((await user.entries(parent)).filter(isDirectory))
  if (!directory) throw new Skip()
  user.say(`removes directory ${directory.entry} in ${parent}`)
  await user.device.fs.rmdir(CONTEXT, parent, nameOf(directory.entry))
}

async function link(user: SimUser): Promise<void> {
  const file = await user.file()
  const parent = await user.directory()
  const entry = user.name()
  if (user.device.lookup(parent, entry)) throw new Skip()
  user.say(`links ${file.entry} as ${entry} in ${parent}`)
  await user.device.fs.link(CONTEXT, file.nodeId, parent, nameOf(entry))
}

async function symlink(user: SimUser): Promise<void> {
  const parent = await user.directory()
  const entry = user.name()
  if (user.device.lookup(parent, entry)) throw new Skip()
  user.say(`makes symlink ${entry} in ${parent}`)
  const target = Buffer.from(`../${user.name()}`)
  await user.device.fs.symlink(CONTEXT, parent, nameOf(entry), target)
}

async function chmod(user: SimUser): Promise<void> {
  const file = user.pick(await user.entries(await user.directory()))
  if (!file) throw new Skip()
  const mode = 0o600 + user.below(0o100)
  user.say(`chmods ${file.entry}`)
  await user.device.fs.setattr(CONTEXT, file.nodeId, { mode }, undefined)
}

async function xattr(user: SimUser): Promise<void> {
  const file = user.pick(await user.entries(await user.directory()))
  if (!file) throw new Skip()
  user.say(`sets an attribute of ${file.entry}`)
  const value = Buffer.from(String(user.below(1000)))
  await user.device.fs.setxattr(CONTEXT, file.nodeId, `user.${user.name()}`, value, 'any')
}

async function policy(user: SimUser): Promise<void> {
  const { device } = user
  const parent = await user.directory()
  const text = user.pick(POLICIES) as string
  user.say(`writes a policy in ${parent}: ${JSON.stringify(text)}`)
  const found = device.lookup(parent, POLICY_FILE_NAME)
  if (found && user.below(4) === 0) {
    await device.fs.unlink(CONTEXT, parent, nameOf(POLICY_FILE_NAME))
    return
  }
  const handle = found
    ? device.open(found.nodeId, 1 | TRUNC)
    : device.create(parent, POLICY_FILE_NAME).handle
  await device.write(handle, 0, text)
  device.close(handle)
}

/** What a version of a conflict shows. @throws {Skip} unless it is a file that is here. */
function deedsOf(user: SimUser, version: ConflictView['versions'][number]): Deed[] {
  const { content } = version
  if (content.kind !== 'file' || version.shownAs === undefined) throw new Skip()
  if (version.shownAs.startsWith('.wormhole')) throw new Skip()
  const { ref, sizeBytes } = content
  const range = { offset: 0, length: sizeBytes }
  const pieces = user.device.daemon.contents.read({ ref, sizeBytes }, range)
  if (!Array.isArray(pieces)) {
    void pieces.catch(() => undefined)
    throw new Skip()
  }
  return user.ledger.deedsIn(Buffer.concat(pieces), `conflict ${version.shownAs}`)
}

/** Settles a conflict, by keeping one version or all under own names. */
async function resolve(user: SimUser): Promise<void> {
  const { overlay, vfs } = user.device.daemon
  if (user.held.length > 0) throw new Skip()
  const conflict = user.pick(overlay.conflicts({ countMax: 50 }).conflicts)
  if (!conflict || conflict.kind === 'cycle') throw new Skip()
  const shown = conflict.versions.map((version) => deedsOf(user, version))
  const keep = user.below(3) === 0 ? 'both' : user.below(shown.length)
  user.say(`resolves ${conflict.name}: keeps ${keep} of ${shown.length}`)
  if (keep !== 'both') {
    const kept = new Set(shown[keep])
    user.noteRemoval(shown.flat().filter((deed) => !kept.has(deed)))
  }
  const done = vfs.perform(() => overlay.resolve(conflict.parent, conflict.name, keep))
  await user.device.settle(done, 'resolving')
}

/** Operations on names, by name. */
export const NAME_ACTIONS = {
  remove,
  rename,
  exchange,
  makeDirectory,
  removeDirectory,
  link,
  symlink,
  chmod,
  xattr,
  policy,
  resolve,
} satisfies Partial<Record<ActionName, Action>>
