/** `wormhole get`: out of the volume to this machine. */
import fs from 'node:fs'
import path from 'node:path'
import { WormholeError, fromErrno, hasCode } from '../../errors.ts'
import type { FileReport } from '../../daemon/interface.ts'
import { EXIT_DONE, EXIT_ERROR, type Context } from '../context.ts'
import { write } from '../io.ts'
import { Tally, forEachItem, joinPath, reportTransfer } from '../transfer.ts'

interface GetOptions {
  recursive?: boolean
  version?: string
}

/** Copies a file, or a tree with `-r`. Exit code 1 if something was skipped. */
export async function get(
  context: Context,
  [source, local]: [string, string | undefined],
  options: GetOptions,
): Promise<number> {
  if (local === '-') return print(context, source, options)
  const name = path.basename(source) || 'volume'
  const given = context.localPath(local ?? name)
  const isDirectory = statLocal(given)?.isDirectory() ?? false
  const target = isDirectory ? path.join(given, name) : given
  const line = context.progress()
  const tally = new Tally(line)
  try {
    try {
      await fetchFile(context, source, target, tally, options)
    } catch (error) {
      if (!options.recursive || !hasCode(error, 'IS_DIRECTORY')) throw error
      await fetchTree(context, source, target, tally)
    }
    line.clear()
    await reportTransfer(context, tally.report)
    return tally.report.skipped.length === 0 ? EXIT_DONE : EXIT_ERROR
  } finally {
    line.clear()
  }
}

async function print(context: Context, source: string, options: GetOptions): Promise<number> {
  for await (const piece of await download(context, source, options.version)) {
    if (!(await write(context.io.stdout, piece))) break
  }
  return EXIT_DONE
}

async function download(
  context: Context,
  source: string,
  version: string | undefined,
): Promise<AsyncGenerator<Uint8Array>> {
  const client = await context.connect()
  const params = { ...context.words, path: source, ...(version === undefined ? {} : { version }) }
  return client.download('read', params, { signal: context.io.signal })
}

async function fetchFile(
  context: Context,
  source: string,
  target: string,
  tally: Tally,
  options: GetOptions,
): Promise<void> {
  await saveFile(target, tally.through(await download(context, source, options.version)))
  tally.addFile()
  if (options.version !== undefined) return
  const [report] = await context.call('list', { ...context.words, path: source })
  if (report) dress(target, report)
}

async function fetchTree(
  context: Context,
  source: string,
  target: string,
  tally: Tally,
): Promise<void> {
  makeLocalDirectory(target)
  tally.addDirectory()
  await forEachItem(walk(context, source, target, tally), async (file) => {
    const pieces = await download(context, file.source, undefined)
    await saveFile(file.target, tally.through(pieces))
    dress(file.target, file.report)
    tally.addFile()
  })
}

interface Copy {
  readonly source: string
  readonly target: string
  readonly report: FileReport
}

/** Makes the local directories and links of a tree as it goes, and yields the regular files. */
async function* walk(
  context: Context,
  source: string,
  target: string,
  tally: Tally,
): AsyncGenerator<Copy> {
  for (const report of await context.call('list', { ...context.words, path: source })) {
    const from = joinPath(source, report.name)
    const to = path.join(target, report.name)
    if (!isPlainName(report.name)) tally.skip(from, 'its name cannot be used on this machine')
    else if (report.type === 'file') yield { source: from, target: to, report }
    else if (report.type === 'directory') {
      makeLocalDirectory(to)
      tally.addDirectory()
      yield* walk(context, from, to, tally)
    } else if (report.target === undefined) tally.skip(from, 'not a regular file')
    else if (statLocal(to, true)) tally.skip(from, 'a symbolic link whose name is taken here')
    else {
      fs.symlinkSync(report.target, to)
      tally.addFile()
    }
  }
}

/** Names come from other devices: none may lead out of the target directory. */
function isPlainName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\0\ufffd]/.test(name)
}

/** Tells apart the temporary files of copies that run side by side. */
let copyCount = 0

/** Writes a file that appears whole or not at all; a device or a pipe is written directly. */
async function saveFile(target: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  const there = statLocal(target)
  if (there?.isDirectory()) {
    throw new WormholeError('ALREADY_EXISTS', `${target} is a directory on this machine`)
  }
  if (there && !there.isFile()) return writeLocal(target, pieces)
  const real = there ? fs.realpathSync(target) : target
  const temporary = path.join(path.dirname(real), `.wormhole-${process.pid}-${++copyCount}`)
  try {
    await writeLocal(temporary, pieces)
    fs.renameSync(temporary, real)
  } catch (error) {
    fs.rmSync(temporary, { force: true })
    throw error instanceof Error && 'errno' in error ? fromErrno(error, `write ${target}`) : error
  }
}

async function writeLocal(file: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  let descriptor: number | undefined
  try {
    // The first piece comes first: what cannot be read leaves no trace here.
    for await (const piece of pieces) {
      descriptor ??= fs.openSync(file, 'w', 0o600)
      fs.writeFileSync(descriptor, piece)
    }
    descriptor ??= fs.openSync(file, 'w', 0o600)
  } finally {
    if (descriptor !== undefined) fs.closeSync(descriptor)
  }
}

/** Gives a copy the permissions (not set-user-id) and time of the original. */
function dress(target: string, report: FileReport): void {
  if (!statLocal(target)?.isFile()) return
  fs.chmodSync(target, report.mode & 0o777)
  const time = new Date(report.mtime)
  if (!Number.isNaN(time.getTime())) fs.utimesSync(target, time, time)
}

function makeLocalDirectory(directory: string): void {
  try {
    fs.mkdirSync(directory, { recursive: true })
  } catch (error) {
    throw fromErrno(error, `make ${directory}`)
  }
}

function statLocal(file: string, isLink = false): fs.Stats | undefined {
  return isLink
    ? fs.lstatSync(file, { throwIfNoEntry: false })
    : fs.statSync(file, { throwIfNoEntry: false })
}
