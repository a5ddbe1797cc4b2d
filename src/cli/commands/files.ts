/** `wormhole ls`, `cat`, `rm`, `mkdir`: files without a mount. */
import type { FileReport } from '../../daemon/interface.ts'
import { EXIT_DONE, type Context } from '../context.ts'
import { clean, formatBytes, formatMode, formatTable, formatTime } from '../format.ts'
import { write } from '../io.ts'

/** Lists a directory, or shows one file. */
export async function ls(
  context: Context,
  [path]: [string | undefined],
  options: { long?: boolean },
): Promise<number> {
  const where = path === undefined ? {} : { path }
  const report = await context.call('list', { ...context.words, ...where })
  await context.report(report, () =>
    options.long ? describeLong(report) : report.map((file) => clean(label(file))).join('\n'),
  )
  return EXIT_DONE
}

function label(file: FileReport): string {
  return file.type === 'directory' ? `${file.name}/` : file.name
}

function describeLong(files: FileReport[]): string {
  if (files.length === 0) return ''
  return formatTable(
    [
      { title: 'MODE' },
      { title: 'OWNER' },
      { title: 'SIZE', isNumber: true },
      { title: 'MODIFIED' },
      { title: 'NAME' },
    ],
    files.map((file) => [
      formatMode(file.type, file.mode),
      `${file.uid}:${file.gid}`,
      formatBytes(file.size),
      formatTime(file.mtime),
      file.target === undefined ? label(file) : `${file.name} -> ${file.target}`,
    ]),
  )
}

/** Prints the bytes of files, one after the other. A reader that leaves ends it. */
export async function cat(
  context: Context,
  paths: string[],
  options: { version?: string },
): Promise<number> {
  const client = await context.connect()
  const version = options.version === undefined ? {} : { version: options.version }
  for (const path of paths) {
    const params = { ...context.words, path, ...version }
    const pieces = client.download('read', params, { signal: context.io.signal })
    for await (const piece of pieces) {
      if (!(await write(context.io.stdout, piece))) return EXIT_DONE
    }
  }
  return EXIT_DONE
}

/** Removes files, and directories with `-r`. */
export async function rm(
  context: Context,
  paths: string[],
  options: { recursive?: boolean },
): Promise<number> {
  const removed: { volume: string; path: string }[] = []
  for (const path of paths) {
    const params = { ...context.words, path, isRecursive: options.recursive ?? false }
    removed.push(await context.call('remove', params))
  }
  await context.report(removed, () => '')
  return EXIT_DONE
}

/** Makes directories. */
export async function mkdir(
  context: Context,
  paths: string[],
  options: { parents?: boolean },
): Promise<number> {
  const made: { volume: string; path: string }[] = []
  const isWithParents = options.parents ?? false
  for (const path of paths) {
    made.push(await context.call('makeDirectory', { ...context.words, path, isWithParents }))
  }
  await context.report(made, () => '')
  return EXIT_DONE
}
