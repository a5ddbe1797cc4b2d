/** The shapes of policies: what a folder may set, and what holds somewhere. */

/** What a device does with the contents of a folder; keeps most first. */
export type KeepWord = 'always' | 'cached' | 'streamed'
/** Bytes, or no limit. */
export type Size = number | 'unlimited'
/** The labels of one device; `device` is its name. */
export type DeviceLabels = Readonly<Record<string, string>>

/** Keys a folder may set, in canonical form. Absent means: inherited from the folder above. */
export interface FolderPolicy {
  readonly ignore?: readonly string[]
  readonly conflicts?: {
    readonly strategy?: 'copies' | 'last-writer-wins'
    readonly notify?: boolean
  }
  readonly replication?: { readonly copies?: number }
  readonly placement?: {
    readonly require?: readonly string[]
    readonly prefer?: readonly string[]
    readonly avoid?: readonly string[]
  }
  readonly local?: {
    readonly keep?: KeepWord | Readonly<Record<string, KeepWord>>
    readonly prefetch?: Size
  }
  readonly history?: { readonly days?: number; readonly versions?: number }
  readonly limits?: { readonly file_size?: Size; readonly quota?: Size }
  readonly access?: { readonly readonly?: boolean }
}

/** What holds somewhere on one device, of the keys that something acts upon. */
export interface EnforcedValues {
  readonly 'conflicts.strategy': 'copies' | 'last-writer-wins'
  readonly 'conflicts.notify': boolean
  readonly 'local.keep': KeepWord
  readonly 'local.prefetch': Size
  /** Days after which a replaced version leaves the history; 1 or more. */
  readonly 'history.days': number
  readonly 'history.versions': number
  readonly 'limits.file_size': Size
  readonly 'access.readonly': boolean
}

/** A mistake in a policy file. Lines and columns from 1. */
export interface PolicyProblem {
  readonly line: number
  readonly column: number
  /** What is wrong, what was probably meant, and what is allowed. */
  readonly message: string
  /** The text that is wrong, as in the message. */
  readonly found?: string
  /** What is allowed in its place, in words. */
  readonly allowed?: string
  /** What was probably meant. */
  readonly meant?: string
}
