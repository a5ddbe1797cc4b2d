/** `wormhole conflicts`, `conflicts show` and `conflicts resolve`. */
import { isUtf8 } from 'node:buffer'
import { isKeep } from '../../daemon/conflict-choice.ts'
import type { ConflictReport, ResolutionReport } from '../../daemon/interface.ts'
import { WormholeError } from '../../errors.ts'
import { systemClock } from '../../system.ts'
import { waitOrAbort } from '../../daemon/sync-run.ts'
import { ask } from '../ask.ts'
import { EXIT_DONE, EXIT_ERROR, type Context } from '../context.ts'
import {
  clean,
  cleanLines,
  count,
  formatBytes,
  formatJson,
  formatTable,
  formatTime,
} from '../format.ts'

/** How often `--watch` looks. */
const WATCH_MS = 1000
/** Larger versions are not compared line by line. */
const DIFF_BYTES_MAX = 1024 * 1024
const NOT_COMPARED = `only text of at most ${formatBytes(DIFF_BYTES_MAX)} is`

/** Lists conflicts, in the whole volume or below a path; with `--watch` also those to come. */
export async function conflicts(
  context: Context,
  [path]: [string | undefined],
  options: { watch?: boolean },
): Promise<number> {
  const params = { ...context.words, path: path ?? '/' }
  if (options.watch) {
    return watch(context, params).catch((error: unknown) => {
      if (!context.io.signal.aborted) throw error
      return EXIT_DONE
    })
  }
  const report = await context.call('conflicts', params)
  await context.report(report, () =>
    report.length === 0
      ? 'No conflicts.'
      : report.map((conflict) => describe(context, conflict)).join('\n\n'),
  )
  return EXIT_DONE
}

/** Prints each conflict once, and again when its versions change; ends with Ctrl-C. */
async function watch(
  context: Context,
  params: Context['words'] & { path: string },
): Promise<never> {
  let known = new Map<string, string>()
  for (;;) {
    const found = new Map<string, string>()
    for (const conflict of await context.call('conflicts', params)) {
      if (conflict.isQuiet) continue
      const state = conflict.versions.map(({ version }) => version).join()
      found.set(conflict.path, state)
      if (known.get(conflict.path) === state) continue
      await context.print(
        context.isJson ? formatJson(conflict) : `${describe(context, conflict)}\n`,
      )
    }
    for (const gone of known.keys()) {
      if (found.has(gone) || context.isJson) continue
      await context.print(`${clean(gone)}: no conflict any more\n`)
    }
    known = found
    await waitOrAbort(systemClock, WATCH_MS, context.io.signal)
  }
}

/** The versions of one conflict, and what differs where they are text. */
export async function show(context: Context, [path]: [string]): Promise<number> {
  const [conflict] = await context.call('conflicts', { ...context.words, path })
  if (!conflict) throw new WormholeError('NOT_FOUND', `there is no conflict at ${path}`)
  const texts = await Promise.all(conflict.versions.map((version) => textOf(context, version)))
  const [first] = texts
  const { createTwoFilesPatch } = await import('diff')
  const differences = conflict.versions.slice(1).map((version, index) => {
    const text = texts[index + 1]
    if (first === undefined || text === undefined) return undefined
    return createTwoFilesPatch(
      nameOf(conflict, 0),
      nameOf(conflict, index + 1),
      first,
      text,
      formatTime(conflict.versions[0]?.time),
      formatTime(version.time),
    )
  })
  await context.report({ ...conflict, differences }, () =>
    [
      describe(context, conflict),
      ...differences.map((text, index) =>
        text === undefined
          ? `Version ${index + 2} is not compared: ${NOT_COMPARED}.`
          : cleanLines(text).trimEnd(),
      ),
    ].join('\n\n'),
  )
  return EXIT_DONE
}

function nameOf(conflict: ConflictReport, index: number): string {
  const { device } = conflict.versions[index] as ConflictReport['versions'][number]
  return `${index + 1} ${device}`
}

/** A version's text; undefined when it is none, too long, or only in the history. */
async function textOf(
  context: Context,
  version: ConflictReport['versions'][number],
): Promise<string | undefined> {
  if (version.path === undefined || version.size > DIFF_BYTES_MAX) return undefined
  const client = await context.connect()
  const params = { ...context.words, path: version.path }
  const pieces: Uint8Array[] = []
  for await (const piece of client.download('read', params, { signal: context.io.signal })) {
    pieces.push(piece)
  }
  const bytes = Buffer.concat(pieces)
  return isUtf8(bytes) && !bytes.includes(0) ? bytes.toString('utf8') : undefined
}

/** How conflicts are to be settled. */
interface ResolveOptions {
  readonly keep: string
  readonly all?: boolean
  readonly dryRun?: boolean
  readonly yes?: boolean
}

/** Settles one conflict, or with `--all` every one at and below a path. */
export async function resolve(
  context: Context,
  [path]: [string | undefined],
  options: ResolveOptions,
): Promise<number> {
  const { keep } = options
  if (!isKeep(keep)) {
    const allowed = "a version's number, both, newest, mine or theirs"
    throw new WormholeError(
      'BAD_ARGUMENT',
      `--keep is ${JSON.stringify(keep)}; it must be ${allowed}`,
    )
  }
  if (options.all) return resolveAll(context, path ?? '/', options)
  if (path === undefined) {
    throw new WormholeError('BAD_ARGUMENT', 'name the conflict, or settle every one with --all')
  }
  const report = await context.call('resolveConflict', { ...context.words, path, keep })
  await context.report(report, () =>
    report === null
      ? `Resolved.\n${undoHint(path)}`
      : `Still in conflict:\n${describe(context, report)}`,
  )
  return EXIT_DONE
}

function undoHint(path: string): string {
  return `What was not kept stays in the history: wormhole history ${clean(path)}`
}

/** Shows what would happen, asks, and does it. */
async function resolveAll(
  context: Context,
  path: string,
  { keep, dryRun, yes }: ResolveOptions,
): Promise<number> {
  const params = { ...context.words, path, keep }
  const preview = await context.call('resolveConflicts', { ...params, isPreview: true })
  const able = preview.filter(({ skipped }) => skipped === undefined)
  if (dryRun || able.length === 0) {
    await context.report(preview, () => describeResolutions(preview, 'would keep'))
    return EXIT_DONE
  }
  if (!yes) {
    await context.print(context.isJson ? '' : describeResolutions(preview, 'would keep'))
    const answer = await ask(context, `Settle ${count(able.length, 'conflict')}? [y/N] `)
    if (answer === undefined) {
      throw new WormholeError('BAD_ARGUMENT', 'nobody can be asked here: add --yes, or --dry-run')
    }
    if (!/^y(es)?$/i.test(answer)) return EXIT_ERROR
  }
  const report = await context.call('resolveConflicts', { ...params, isPreview: false })
  await context.report(report, () => describeResolutions(report, 'kept'))
  return report.every(({ skipped }) => skipped === undefined) ? EXIT_DONE : EXIT_ERROR
}

function describeResolutions(report: ResolutionReport[], verb: string): string {
  if (report.length === 0) return 'No conflicts.'
  return report
    .map(({ path, versions, keeps, skipped }) => {
      if (skipped !== undefined) return clean(`${path}: left: ${skipped}`)
      if (keeps === 'both' || keeps === undefined) return clean(`${path}: ${verb} all versions`)
      const { device, time } = versions[keeps - 1] as ResolutionReport['versions'][number]
      const which = `version ${keeps} of ${versions.length}, ${device}, ${formatTime(time)}`
      return clean(`${path}: ${verb} ${which}`)
    })
    .join('\n')
}

function describe(context: Context, conflict: ConflictReport): string {
  const title = `${context.paint('strong', clean(conflict.path))} (${conflict.kind})`
  const table = formatTable(
    [
      { title: 'N', isNumber: true },
      { title: 'DEVICE' },
      { title: 'TIME' },
      { title: 'SIZE', isNumber: true },
      { title: 'STATE' },
      { title: 'PATH' },
    ],
    conflict.versions.map((version, index) => [
      `${index + 1}`,
      version.device,
      formatTime(version.time),
      formatBytes(version.size),
      version.state,
      version.path ?? `version ${version.version}`,
    ]),
  )
  return `${title}\n${table}`
}
