/**
 * Which policy files have mistakes, for `status` and `policy check`. Lives on the fs thread.
 *
 * A policy file that changed, here or elsewhere, is a suspect until it is read: when somebody asks.
 * So what is reported is true at that moment, whatever became of the file since. Suspects outlive
 * the process (`onSuspects`).
 */
import type { TreeDelta } from '../crdt/interface.ts'
import type { Overlay } from '../crdt/overlay.ts'
import { parsePolicy, POLICY_FILE_NAME, POLICY_FILE_SIZE_BYTES_MAX } from '../policy/parse.ts'
import type { Clock } from '../system.ts'
import { nameFromText, type InodeId } from '../types.ts'
import type { PathApi } from '../vfs/interface.ts'
import type { Vfs } from '../vfs/vfs.ts'
import type { PolicyCheckReport } from './interface.ts'
import type { ProblemEvent } from './threads.ts'
import { joinPath, pathOf } from './tree-paths.ts'

const FILE_NAME = nameFromText(POLICY_FILE_NAME)
const LIST_COUNT = 512

type Mistake = PolicyCheckReport['problems'][number]

/** See the head of this file. */
export class PolicyWatch {
  readonly #overlay: Overlay
  readonly #vfs: Vfs
  readonly #clock: Clock
  readonly #isHere: (inode: InodeId) => boolean
  readonly #onSuspects: (directories: InodeId[]) => void
  /** Directories whose policy file may have mistakes. */
  readonly #suspects: Set<InodeId>

  /** @param options - `isHere`: whether the bytes of a file can be read without the network. */
  constructor(options: {
    overlay: Overlay
    vfs: Vfs
    clock: Clock
    suspects: readonly InodeId[]
    isHere: (inode: InodeId) => boolean
    onSuspects: (directories: InodeId[]) => void
  }) {
    this.#overlay = options.overlay
    this.#vfs = options.vfs
    this.#clock = options.clock
    this.#suspects = new Set(options.suspects)
    this.#isHere = options.isHere
    this.#onSuspects = options.onSuspects
  }

  /** Methods for an `Rpc`. */
  readonly handlers = {
    policyProblems: () => this.#problems(),
    policyCheck: (path: string) => this.#check(path),
  }

  /** After a commit: policy files in it are suspects. */
  changed(delta: TreeDelta): void {
    const before = this.#suspects.size
    for (const { parent, name } of delta.dirents) if (name === FILE_NAME) this.#suspects.add(parent)
    for (const { id, hasContent, name = FILE_NAME } of delta.nodes) {
      const node = hasContent && name === FILE_NAME ? this.#overlay.node(id) : undefined
      if (node?.name === FILE_NAME) this.#suspects.add(node.parent)
    }
    if (this.#suspects.size !== before) this.#onSuspects([...this.#suspects])
  }

  /** What `status` says. Files that turn out to be right are suspects no more. */
  async #problems(): Promise<ProblemEvent[]> {
    const before = this.#suspects.size
    const found: Mistake[] = []
    for (const directory of [...this.#suspects]) {
      const file = this.#overlay.lookup(directory, FILE_NAME)
      // What is not here is looked at when it is.
      if (file && !this.#isHere(file.id)) continue
      // Not after reading: it may have changed again meanwhile.
      this.#suspects.delete(directory)
      const mistakes = await this.#mistakes(directory)
      if (mistakes.length > 0) this.#suspects.add(directory)
      found.push(...mistakes)
    }
    if (this.#suspects.size !== before) this.#onSuspects([...this.#suspects])
    return found.map(({ file, line, column, message }) => ({
      code: 'POLICY_INVALID',
      message: `${file}:${line}:${column}: ${message}`,
    }))
  }

  /** Judges one policy file, or all at and below a directory. */
  async #check(path: string): Promise<PolicyCheckReport> {
    const entry = this.#vfs.paths.stat(path, { follow: true })
    const problems: Mistake[] = []
    if (entry.type !== 'directory') {
      problems.push(...(await this.#read(path)))
      return { isValid: problems.length === 0, problems }
    }
    const todo = [entry.inode]
    for (let at = todo.pop(); at !== undefined; at = todo.pop()) {
      problems.push(...(await this.#mistakes(at)))
      for (let after: string | undefined, isMore = true; isMore;) {
        const options = after === undefined ? {} : { after }
        const page = this.#overlay.list(at, { ...options, countMax: LIST_COUNT })
        for (const { id, kind } of page.entries) if (kind === 'directory') todo.push(id)
        after = page.next
        isMore = after !== undefined
        // A big tree holds up nobody's reads and writes.
        await new Promise<void>((resolve) => this.#clock.setTimer(0, resolve))
      }
    }
    return { isValid: problems.length === 0, problems }
  }

  /** Of the policy file in a directory; none when there is no such file. */
  async #mistakes(directory: InodeId): Promise<Mistake[]> {
    const path = joinPath(pathOf(this.#overlay, directory), POLICY_FILE_NAME)
    const file = this.#overlay.lookup(directory, FILE_NAME)
    if (!file || this.#overlay.node(file.id)?.content.kind !== 'file') return []
    return this.#read(path)
  }

  async #read(file: string): Promise<Mistake[]> {
    const parsed = await readPolicyFile(this.#vfs.paths, file)
    if ('canonical' in parsed) return []
    return parsed.problems.map((problem) => ({ file, ...problem }))
  }
}

/** Reads a policy file; one that is too long is read no further than it takes to say so. */
export async function readPolicyFile(
  paths: Pick<PathApi, 'readFile'>,
  file: string,
): Promise<ReturnType<typeof parsePolicy>> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of paths.readFile(file)) {
    pieces.push(Buffer.from(piece))
    bytes += piece.length
    if (bytes > POLICY_FILE_SIZE_BYTES_MAX) break
  }
  return parsePolicy(Buffer.concat(pieces))
}
