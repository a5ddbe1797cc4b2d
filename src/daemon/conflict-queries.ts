/** What the command line asks about conflicts, with text paths. Lives on the fs thread. */
import type { ConflictView, VersionView } from '../crdt/interface.ts'
import type { Overlay } from '../crdt/overlay.ts'
import { WormholeError } from '../errors.ts'
import { decideValue } from '../policy/decide.ts'
import { nameToText, type DeviceId, type InodeId } from '../types.ts'
import type { Vfs } from '../vfs/vfs.ts'
import { chooseVersion, type Keep } from './conflict-choice.ts'
import type { ConflictReport, ResolutionReport } from './interface.ts'
import { stampToIso } from './reports.ts'
import { strategyOf } from './strategy.ts'
import { joinPath, pathOf } from './tree-paths.ts'

const CONFLICT_PAGE_COUNT = 256

/** Bytes of a version; 0 for what is no file. */
export function sizeOf(version: VersionView): number {
  return version.content.kind === 'file' ? version.content.sizeBytes : 0
}

/** See the head of this file. */
export class ConflictQueries {
  readonly #overlay: Overlay
  readonly #vfs: Vfs
  readonly #self: DeviceId

  constructor(options: { overlay: Overlay; vfs: Vfs; self: DeviceId }) {
    this.#overlay = options.overlay
    this.#vfs = options.vfs
    this.#self = options.self
  }

  /** Methods for an `Rpc`. */
  readonly handlers = {
    conflicts: (path: string) => this.#conflicts(path).map(({ report }) => report),
    conflictCount: () => this.#views().filter((view) => !this.#isQuiet(view)).length,
    resolveConflict: (args: { path: string; keep: Keep }) => this.#resolve(args),
    resolveConflicts: (args: { path: string; keep: Keep; isPreview: boolean }) =>
      this.#resolveAll(args),
  }

  #views(): ConflictView[] {
    const all: ConflictView[] = []
    let after: string | undefined
    do {
      const page = this.#overlay.conflicts({
        ...(after === undefined ? {} : { after }),
        countMax: CONFLICT_PAGE_COUNT,
      })
      all.push(...page.conflicts)
      after = page.next
    } while (after !== undefined)
    return all
  }

  /** Whether the policy of the folder says not to tell of it. */
  #isQuiet({ parent }: ConflictView): boolean {
    return !decideValue('conflicts.notify', this.#policies(parent))
  }

  #policies(directory: InodeId): string[] {
    return this.#overlay.policies(directory).map(({ policy }) => policy)
  }

  #report(view: ConflictView): ConflictReport {
    const directory = pathOf(this.#overlay, view.parent)
    return {
      path: joinPath(directory, nameToText(view.name)),
      kind: view.kind,
      strategy: strategyOf(this.#policies(view.parent)),
      ...(this.#isQuiet(view) ? { isQuiet: true as const } : {}),
      versions: view.versions.map((version) => ({
        version: version.version,
        device: version.deviceName,
        ...(version.device === undefined ? {} : { deviceId: version.device }),
        time: stampToIso(version.content.hlc),
        size: sizeOf(version),
        ...(version.shownAs === undefined
          ? {}
          : { path: joinPath(directory, nameToText(version.shownAs)) }),
        state: version.state,
      })),
    }
  }

  /** Those at or below a path, by path. */
  #conflicts(path: string): { view: ConflictView; report: ConflictReport }[] {
    const scope = path === '/' ? '/' : path.replace(/\/+$/, '')
    return this.#views()
      .map((view) => ({ view, report: this.#report(view) }))
      .filter(
        ({ report }) =>
          scope === '/' ||
          report.path === scope ||
          report.path.startsWith(`${scope}/`) ||
          report.versions.some((version) => version.path === scope),
      )
      .sort((a, b) => (a.report.path < b.report.path ? -1 : 1))
  }

  /** Returns what is left of the conflict. */
  async #resolve(args: { path: string; keep: Keep }): Promise<ConflictReport | undefined> {
    const { path, keep } = args
    const found = this.#conflicts('/').find(
      ({ report }) =>
        report.path === path || report.versions.some((version) => version.path === path),
    )
    if (!found) throw new WormholeError('NOT_FOUND', `there is no conflict at ${path}`)
    const { view, report } = found
    const index = chooseVersion(report.versions, { keep, self: this.#self })
    if (index === undefined) {
      const allowed = `1 to ${view.versions.length}, both, newest, mine or theirs`
      throw new WormholeError('BAD_ARGUMENT', `there is no version "${keep}": keep ${allowed}`)
    }
    return this.#settle(view, index)
  }

  async #settle(view: ConflictView, index: number | 'both'): Promise<ConflictReport | undefined> {
    const { parent, name } = view
    await this.#vfs.perform(() => {
      if (index !== 'both') this.#checkRemovable(view, index)
      return this.#overlay.resolve(parent, name, index)
    })
    const left = this.#views().find((other) => other.parent === parent && other.name === name)
    return left && this.#report(left)
  }

  /**
   * Settles all at and below a path in one way; what has no such version, or cannot be settled so,
   * is left and told.
   */
  async #resolveAll(args: {
    path: string
    keep: Keep
    isPreview: boolean
  }): Promise<ResolutionReport[]> {
    const results: ResolutionReport[] = []
    for (const { view, report } of this.#conflicts(args.path)) {
      const index = chooseVersion(report.versions, { keep: args.keep, self: this.#self })
      if (index === undefined) {
        results.push({ ...report, skipped: `it has no version "${args.keep}"` })
        continue
      }
      const keeps = index === 'both' ? index : index + 1
      try {
        if (args.isPreview && index !== 'both') this.#checkRemovable(view, index)
        if (!args.isPreview) await this.#settle(view, index)
        results.push({ ...report, keeps })
      } catch (error) {
        if (!(error instanceof WormholeError)) throw error
        results.push({ ...report, keeps, skipped: error.message })
      }
    }
    return results
  }

  /** Keeping one version removes the others. @throws `NOT_EMPTY` that names the directory. */
  #checkRemovable(view: ConflictView, keep: number): void {
    const { versions } = this.#report(view)
    for (const [index, { inode, content }] of view.versions.entries()) {
      if (index === keep || content.kind !== 'directory') continue
      const { entries } = this.#overlay.list(inode, { countMax: 1 })
      if (entries.length === 0) continue
      throw new WormholeError(
        'NOT_EMPTY',
        `the directory ${versions[index]?.path ?? view.name} is not empty, ` +
          `and keeping version ${keep + 1} would remove it`,
      )
    }
  }
}
