/** `wormhole put`: from this machine into the volume. */
import fs from 'node:fs'
import path from 'node:path'
import { WormholeError, fromErrno, hasCode } from '../../errors.ts'
import { EXIT_DONE, EXIT_ERROR, type Context } from '../context.ts'
import { Tally, forEachItem, joinPath, lastName, reportTransfer } from '../transfer.ts'

const READ_BYTES = 256 * 1024

/** Copies a file, standard input, or a tree. Exit code 1 if something was skipped. */
export async function put(
  context: Context,
  [local, target]: [string, string],
  options: { recursive?: boolean },
): Promise<number> {
  const line = context.progress()
  try {
    if (local === '-') return await putInput(context, target, new Tally(line))
    const source = context.localPath(local)
    const stat = statLocal(source)
    const size = stat.isFile() ? stat.size : 0
    const tally = new Tally(line, size)
    if (!stat.isDirectory()) await putFile(context, source, target, tally)
    else if (options.recursive) await putTree(context, source, target, tally)
    else throw new WormholeError('IS_DIRECTORY', `${local} is a directory`)
    line.clear()
    await reportTransfer(context, tally.report)
    return tally.report.skipped.length === 0 ? EXIT_DONE : EXIT_ERROR
  } finally {
    line.clear()
  }
}

async function putInput(context: Context, target: string, tally: Tally): Promise<number> {
  if (target.endsWith('/')) {
    throw new WormholeError('IS_DIRECTORY', `standard input has no name to put into ${target}`)
  }
  await upload(context, target, context.io.stdin, undefined, tally)
  await reportTransfer(context, tally.report)
  return EXIT_DONE
}

/** Copies one file; a directory as target takes it under its own name. */
async function putFile(
  context: Context,
  source: string,
  target: string,
  tally: Tally,
): Promise<void> {
  const inside = joinPath(target, lastName(source))
  if (target.endsWith('/')) return sendFile(context, source, inside, tally)
  try {
    await sendFile(context, source, target, tally)
  } catch (error) {
    if (!hasCode(error, 'IS_DIRECTORY')) throw error
    tally.report.bytes = 0
    await sendFile(context, source, inside, tally)
  }
}

/** Copies a tree to `target`, or into it when it is there already, as cp(1) does. */
async function putTree(
  context: Context,
  source: string,
  target: string,
  tally: Tally,
): Promise<void> {
  const inside = joinPath(target, lastName(source))
  const isNew = !target.endsWith('/') && (await makeDirectory(context, target))
  const root = isNew ? target : inside
  if (!isNew) await makeDirectory(context, root)
  tally.addDirectory()
  await forEachItem(walk(context, source, root, tally), (file) =>
    sendFile(context, file.source, file.target, tally),
  )
}

interface Copy {
  readonly source: string
  readonly target: string
}

/** Makes the directories of a tree as it goes, and yields the regular files. */
async function* walk(
  context: Context,
  source: string,
  target: string,
  tally: Tally,
): AsyncGenerator<Copy> {
  const entries = fs.readdirSync(source, { withFileTypes: true })
  entries.sort((left, right) => (left.name < right.name ? -1 : 1))
  for (const entry of entries) {
    const from = path.join(source, entry.name)
    const to = joinPath(target, entry.name)
    if (entry.name.includes('\ufffd')) tally.skip(from, 'its name is not UTF-8')
    else if (entry.isFile()) yield { source: from, target: to }
    else if (entry.isDirectory()) {
      await makeDirectory(context, to)
      tally.addDirectory()
      yield* walk(context, from, to, tally)
    } else tally.skip(from, entry.isSymbolicLink() ? 'a symbolic link' : 'not a regular file')
  }
}

/** False: it is there already. */
async function makeDirectory(context: Context, directory: string): Promise<boolean> {
  try {
    await context.call('makeDirectory', { ...context.words, path: directory })
    return true
  } catch (error) {
    if (!hasCode(error, 'ALREADY_EXISTS')) throw error
    return false
  }
}

async function sendFile(
  context: Context,
  source: string,
  target: string,
  tally: Tally,
): Promise<void> {
  const mode = statLocal(source).mode & 0o7777
  await upload(context, target, readLocal(source), mode, tally)
}

async function upload(
  context: Context,
  target: string,
  pieces: AsyncIterable<Uint8Array>,
  mode: number | undefined,
  tally: Tally,
): Promise<void> {
  const client = await context.connect()
  const params = { ...context.words, path: target, ...(mode === undefined ? {} : { mode }) }
  await client.upload('write', params, tally.through(pieces), { signal: context.io.signal })
  tally.addFile()
}

async function* readLocal(source: string): AsyncGenerator<Uint8Array> {
  try {
    yield* fs.createReadStream(source, { highWaterMark: READ_BYTES })
  } catch (error) {
    throw fromErrno(error, `read ${source}`)
  }
}

function statLocal(file: string): fs.Stats {
  try {
    return fs.statSync(file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new WormholeError('NOT_FOUND', `there is no file ${file} on this machine`)
    }
    throw fromErrno(error, `look at ${file}`)
  }
}
