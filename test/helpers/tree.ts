/**
 * Compares directory trees as a user sees them: names, types, modes, times, contents, link targets
 * and user attributes. Names are bytes (Latin-1 text here), so that any name can be compared.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'

/** What is compared beside names, types, modes, contents and link targets. */
export interface TreeOptions {
  /** Modification times of files and links, in nanoseconds. Default true. */
  readonly times?: boolean
  /** Modification times of directories. Default false: writing into a copy changes them. */
  readonly directoryTimes?: boolean
  /** Extended attributes `user.*` (read with python3, as Node cannot). Default true. */
  readonly attributes?: boolean
  /** Paths (relative, Latin-1) to leave out, with all below. */
  readonly ignore?: (path: string) => boolean
}

/** The facts about one object, by name of the fact. */
type Facts = Record<string, string>

const TYPES: readonly [number, string][] = [
  [fs.constants.S_IFREG, 'file'],
  [fs.constants.S_IFDIR, 'directory'],
  [fs.constants.S_IFLNK, 'symlink'],
  [fs.constants.S_IFIFO, 'fifo'],
  [fs.constants.S_IFSOCK, 'socket'],
  [fs.constants.S_IFBLK, 'block device'],
  [fs.constants.S_IFCHR, 'character device'],
]

const PIECE_BYTES = 256 * 1024

/** SHA-256 of a file's bytes, read in pieces, so that size does not matter. */
export function hashFile(path: string | Buffer): string {
  const digest = createHash('sha256')
  const descriptor = fs.openSync(path, 'r')
  const piece = Buffer.allocUnsafe(PIECE_BYTES)
  try {
    for (;;) {
      const count = fs.readSync(descriptor, piece, 0, piece.length, null)
      if (count === 0) return digest.digest('hex')
      digest.update(piece.subarray(0, count))
    }
  } finally {
    fs.closeSync(descriptor)
  }
}

function factsOf(path: Buffer, options: TreeOptions): Facts {
  const stat = fs.lstatSync(path, { bigint: true })
  const bits = Number(stat.mode)
  const type = TYPES.find(([kind]) => (bits & fs.constants.S_IFMT) === kind)?.[1] ?? 'unknown'
  const facts: Facts = { type }
  if (type !== 'symlink') facts.mode = (bits & 0o7777).toString(8)
  const isTimed = type === 'directory' ? options.directoryTimes === true : options.times !== false
  if (isTimed) facts.mtimeNs = String(stat.mtimeNs)
  if (type === 'symlink') facts.target = fs.readlinkSync(path, 'buffer').toString('latin1')
  if (type === 'file') {
    facts.size = String(stat.size)
    facts.sha256 = hashFile(path)
  }
  if (type.endsWith('device')) facts.device = String(stat.rdev)
  return facts
}

const ATTRIBUTES_SCRIPT = `
import os, sys, json
root = os.fsencode(sys.argv[1])
found = {}
for at, names, files in os.walk(root):
    for path in [at] + [os.path.join(at, name) for name in names + files]:
        try:
            keys = os.listxattr(path, follow_symlinks=False)
        except OSError:
            continue
        values = {key: os.getxattr(path, key, follow_symlinks=False).hex()
                  for key in keys if key.startswith('user.')}
        if values:
            found[os.path.relpath(path, root).decode('latin-1')] = values
print(json.dumps(found))
`

/** The `user.*` attributes in a tree, as hex, by path. */
function readAttributes(root: string): Record<string, Facts> {
  const result = spawnSync('python3', ['-c', ATTRIBUTES_SCRIPT, root], { encoding: 'utf8' })
  if (result.status !== 0) throw new Error(`python3 cannot read attributes: ${result.stderr}`)
  return JSON.parse(result.stdout) as Record<string, Facts>
}

/** Facts of everything below `root` (and of `root` as `.`), by path, sorted. */
function readTree(root: string, options: TreeOptions): Map<string, Facts> {
  const found = new Map<string, Facts>()
  const visit = (path: Buffer, name: string): void => {
    if (name !== '.' && options.ignore?.(name) === true) return
    const facts = factsOf(path, options)
    if (name !== '.') found.set(name, facts)
    if (facts.type !== 'directory') return
    for (const child of fs.readdirSync(path, { encoding: 'buffer' })) {
      const childPath = Buffer.concat([path, Buffer.from('/'), child])
      const text = child.toString('latin1')
      visit(childPath, name === '.' ? text : `${name}/${text}`)
    }
  }
  visit(Buffer.from(root), '.')
  if (options.attributes !== false) {
    for (const [path, values] of Object.entries(readAttributes(root))) {
      const facts = found.get(path)
      if (facts === undefined) continue
      for (const [key, value] of Object.entries(values)) facts[key] = value
    }
  }
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)))
}

/**
 * How two trees differ: one line per difference, sorted by path; none when they are equal.
 *
 * @param left - Existing directory. Its own attributes are not compared.
 */
export function compareTrees(left: string, right: string, options: TreeOptions = {}): string[] {
  const a = readTree(left, options)
  const b = readTree(right, options)
  const differences: string[] = []
  for (const path of [...new Set([...a.keys(), ...b.keys()])].sort()) {
    const mine = a.get(path)
    const theirs = b.get(path)
    if (mine === undefined || theirs === undefined) {
      differences.push(`${path}: only in ${mine === undefined ? right : left}`)
      continue
    }
    for (const key of new Set([...Object.keys(mine), ...Object.keys(theirs)])) {
      if (mine[key] === theirs[key]) continue
      differences.push(`${path}: ${key} ${mine[key] ?? 'absent'} / ${theirs[key] ?? 'absent'}`)
    }
  }
  return differences
}

/** One hash of a whole tree: equal for trees that `compareTrees` finds equal. */
export function hashTree(root: string, options: TreeOptions = {}): string {
  const digest = createHash('sha256')
  for (const [path, facts] of readTree(root, options)) {
    const sorted = Object.entries(facts).sort(([a], [b]) => (a < b ? -1 : 1))
    digest.update(`${JSON.stringify([path, sorted])}\n`)
  }
  return digest.digest('hex')
}
