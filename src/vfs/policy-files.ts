/**
 * Policy files: when the bytes under the name `.wormhole.toml` change, the same edit carries the
 * directory's policy register. A file with mistakes changes nothing; `status` tells of it
 * (`daemon/policy-watch.ts`). What changes the file without a program writing it (a conflict that
 * is settled, a version that is restored) has the register follow in an edit of its own.
 */
import type { ContentStore } from '../chunks/interface.ts'
import type { Edit, NodeView } from '../crdt/interface.ts'
import type { Overlay } from '../crdt/overlay.ts'
import { errorToData } from '../errors.ts'
import { POLICY_FILE_NAME, POLICY_FILE_SIZE_BYTES_MAX } from '../policy/parse.ts'
import type { FileName, InodeId } from '../types.ts'
import type { PolicyOf, Problem } from './interface.ts'
import type { Base, OpenFile } from './open-file.ts'

/** One byte more than is allowed is enough to be refused. */
const READ_BYTES_MAX = POLICY_FILE_SIZE_BYTES_MAX + 1

/** What a policy file says; undefined when its bytes cannot be had. */
export type PolicyText = Buffer | undefined

/** Turns policy files into edits of the policy register. */
export class PolicyFiles {
  readonly #overlay: Overlay
  readonly #contents: ContentStore
  readonly #policyOf: PolicyOf
  readonly #onProblem: (problem: Problem) => void

  constructor(options: {
    overlay: Overlay
    contents: ContentStore
    policyOf: PolicyOf
    onProblem: (problem: Problem) => void
  }) {
    this.#overlay = options.overlay
    this.#contents = options.contents
    this.#policyOf = options.policyOf
    this.#onProblem = options.onProblem
  }

  isPolicyFile(name: FileName): boolean {
    return name === POLICY_FILE_NAME
  }

  /** The directory that this inode is the policy file of. */
  directoryOf(inode: InodeId): InodeId | undefined {
    const node = this.#overlay.node(inode)
    if (!node || (node.nlink === 1 && !this.isPolicyFile(node.name))) return undefined
    const { parent } = node
    const named = this.#overlay.lookup(parent, POLICY_FILE_NAME as FileName)
    return named?.id === inode ? parent : undefined
  }

  /** The text as it is now, from an open file or a content. Never rejects. */
  textOf(what: OpenFile | Base): PolicyText | Promise<PolicyText> {
    try {
      const bytes =
        'handles' in what
          ? what.read(this.#contents, 0, READ_BYTES_MAX)
          : this.#contents.read(what, { offset: 0, length: READ_BYTES_MAX })
      if (Array.isArray(bytes)) return Buffer.concat(bytes)
      return bytes.then((parts) => Buffer.concat(parts)).catch((error) => this.#unreadable(error))
    } catch (error) {
      return this.#unreadable(error)
    }
  }

  #unreadable(error: unknown): undefined {
    const { code, message } = errorToData(error)
    this.#onProblem({ code, message: `a policy file cannot be read: ${message}` })
    return undefined
  }

  /** The edit that makes the register say what the file of a directory says now. */
  follow(directory: InodeId): Edit | undefined | Promise<Edit | undefined> {
    const shown = this.#shownIn(directory)
    if (shown?.content.kind !== 'file') return this.removal(directory)
    const text = this.textOf(shown.content)
    if (!(text instanceof Promise)) return this.edit(directory, text)
    // Who has changed the file meanwhile has put the register, too.
    return text.then((late) => {
      const isSame = this.#shownIn(directory)?.version === shown.version
      return isSame ? this.edit(directory, late) : undefined
    })
  }

  #shownIn(directory: InodeId): NodeView | undefined {
    const found = this.#overlay.lookup(directory, POLICY_FILE_NAME as FileName)
    return found && this.#overlay.node(found.id)
  }

  /** The edit that makes `text` the policy of a directory; undefined when nothing changes. */
  edit(directory: InodeId, text: PolicyText): Edit | undefined {
    if (text === undefined) return undefined
    const read = this.#policyOf(text)
    return 'policy' in read ? this.#put(directory, read.policy) : undefined
  }

  /** The edit for a directory that has lost its policy file. */
  removal(directory: InodeId): Edit | undefined {
    return this.#put(directory, '')
  }

  #put(directory: InodeId, policy: string): Edit | undefined {
    const edit = this.#overlay.setPolicy(directory, policy)
    return edit.puts.length > 0 ? edit : undefined
  }
}
