/** `wormhole policy check`, `explain`, `init` and `schema`. */
import { constants } from 'node:fs'
import { open, rm, stat, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { Readable } from 'node:stream'
import type { ExplainReport, PolicyCheckReport } from '../../daemon/interface.ts'
import { fromErrno, hasCode, WormholeError } from '../../errors.ts'
import { parsePolicy, POLICY_FILE_NAME, POLICY_FILE_SIZE_BYTES_MAX } from '../../policy/parse.ts'
import { POLICY_SCHEMA } from '../../policy/schema.ts'
import { formatTemplate, type Purpose } from '../../policy/templates.ts'
import { shownValue } from '../../policy/words.ts'
import { EXIT_DONE, EXIT_ERROR, type Context } from '../context.ts'
import { clean, formatTable } from '../format.ts'
import { write } from '../io.ts'
import { joinPath } from '../transfer.ts'

/**
 * Validates policy files; exit code 1 if there is a problem. Files of this machine, those in a
 * mount included, are judged here and need no daemon; all else is a path in a volume.
 */
export async function check(context: Context, paths: (string | undefined)[]): Promise<number> {
  const given = paths.filter((text) => text !== undefined)
  const problems: PolicyCheckReport['problems'] = []
  for (const text of given.length > 0 ? given : ['/']) {
    problems.push(...((await checkHere(context, text)) ?? (await checkThere(context, text))))
  }
  const report: PolicyCheckReport = { isValid: problems.length === 0, problems }
  await context.report(report, () =>
    report.isValid
      ? 'All policy files are valid.'
      : problems
          .map(({ file, line, column, message }) => clean(`${file}:${line}:${column}: ${message}`))
          .join('\n'),
  )
  return report.isValid ? EXIT_DONE : EXIT_ERROR
}

/** The mistakes of a file of this machine; undefined when there is no such file. */
async function checkHere(
  context: Context,
  text: string,
): Promise<PolicyCheckReport['problems'] | undefined> {
  const file = context.localPath(text)
  const found = await stat(file).catch(() => undefined)
  if (found?.isFile() !== true) return undefined
  const handle = await open(file, 'r')
  try {
    const parsed = parsePolicy(await readStart(handle, POLICY_FILE_SIZE_BYTES_MAX + 1))
    return 'problems' in parsed ? parsed.problems.map((one) => ({ file: text, ...one })) : []
  } finally {
    await handle.close()
  }
}

/** At most so many bytes from the start of a file. */
async function readStart(handle: FileHandle, bytesMax: number): Promise<Buffer> {
  const bytes = Buffer.alloc(bytesMax)
  let length = 0
  while (length < bytesMax) {
    const { bytesRead } = await handle.read(bytes, length, bytesMax - length)
    if (bytesRead === 0) break
    length += bytesRead
  }
  return bytes.subarray(0, length)
}

async function checkThere(context: Context, text: string): Promise<PolicyCheckReport['problems']> {
  try {
    return (await context.call('policyCheck', { ...context.words, path: text })).problems
  } catch (error) {
    if (text === '/' || !hasCode(error, 'DAEMON_NOT_RUNNING')) throw error
    const message = `${text} is no file of this machine, and no daemon runs that knows volumes`
    throw new WormholeError('NOT_FOUND', message, { cause: error })
  }
}

/** What a device's own settings (`volume.json`) can do to this. */
const LOCAL_RULE =
  'Settings of one device may add limits to these and weaken none; pins are the only ones yet.'

/** Which rule decides what. */
export async function explain(
  context: Context,
  [path]: [string],
  options: { device?: string },
): Promise<number> {
  const { device } = options
  const params = { ...context.words, path, ...(device === undefined ? {} : { device }) }
  const report = await context.call('policyExplain', params)
  await context.report(report, () => describe(report))
  return EXIT_DONE
}

function describe({ path, device, values, notes }: ExplainReport): string {
  const rows = values.map((value) => [
    value.key,
    shownValue(value.key, value.value),
    origin(value),
    value.pending ?? '',
  ])
  const columns = ['KEY', 'VALUE', 'FROM', 'NOTE'].map((title) => ({ title }))
  return [
    `What holds for ${clean(path)} on ${clean(device) || 'this device'}:`,
    formatTable(columns, rows),
    ...notes.map(({ file, message }) => clean(`${file}: ${message}`)),
    LOCAL_RULE,
  ].join('\n')
}

function origin({ from, line, label, reason }: ExplainReport['values'][number]): string {
  const place = line === undefined ? from : `${from}:${line}`
  if (reason === 'unreadable') return `${place} (cannot be read here)`
  return label === undefined ? place : `${place} (${label})`
}

/**
 * Writes a commented policy file to begin with; never over one that is there. A directory of this
 * machine goes first, those in a mount included; all else is a path in a volume.
 */
export async function init(
  context: Context,
  [directory]: [string | undefined],
  options: { for: Purpose },
): Promise<number> {
  const text = formatTemplate(options.for)
  if (directory === '-') {
    await write(context.io.stdout, text)
    return EXIT_DONE
  }
  const here = context.localPath(directory ?? '.')
  const isHere = directory === undefined || (await stat(here).catch(() => undefined)) !== undefined
  const file = isHere ? path.join(here, POLICY_FILE_NAME) : joinPath(directory, POLICY_FILE_NAME)
  if (isHere) await writeNew(file, text)
  else await writeThere(context, directory, file, text)
  await context.report(
    { file, for: options.for },
    () =>
      `Wrote ${clean(file)}. What holds now: wormhole policy explain ${clean(directory ?? '.')}`,
  )
  return EXIT_DONE
}

/** Makes a file; what could not be written whole is removed. */
async function writeNew(file: string, text: string): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL
  let handle: FileHandle
  try {
    handle = await open(file, flags, 0o644)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') throw isThere(file, error)
    throw fromErrno(error, `write ${file}`)
  }
  try {
    await handle.writeFile(text)
    await handle.close()
  } catch (error) {
    await handle.close().catch(() => undefined)
    await rm(file, { force: true })
    throw error
  }
}

/** Makes a file in a volume. */
async function writeThere(
  context: Context,
  directory: string,
  file: string,
  text: string,
): Promise<void> {
  try {
    const names = await context.call('list', { ...context.words, path: directory })
    if (names.some(({ name }) => name === POLICY_FILE_NAME)) throw isThere(file)
    const client = await context.connect()
    const bytes = Readable.from([Buffer.from(text)])
    await client.upload('write', { ...context.words, path: file }, bytes)
  } catch (error) {
    if (!hasCode(error, 'NOT_FOUND') && !hasCode(error, 'DAEMON_NOT_RUNNING')) throw error
    const message = `neither this machine nor a volume that is up has a directory ${directory}`
    throw new WormholeError('NOT_FOUND', message, { cause: error })
  }
}

function isThere(file: string, cause?: unknown): WormholeError {
  const message = `${file} is there already, and a template replaces nothing`
  return new WormholeError('ALREADY_EXISTS', message, { cause })
}

/** The JSON schema of policy files, for editors and other programs. */
export async function schema(context: Context): Promise<number> {
  await context.report(POLICY_SCHEMA, () => JSON.stringify(POLICY_SCHEMA, undefined, 2))
  return EXIT_DONE
}
