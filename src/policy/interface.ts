/** The shapes of policies: the canonical form that lies in a directory's `P` register. */

/** Keys a folder may set. Absent means: inherited from the folder above. */
export interface FolderPolicy {
  readonly conflicts?: { readonly strategy?: 'copies' | 'last-writer-wins' }
  readonly local?: { readonly keep?: 'always' | 'cached' }
  readonly history?: { readonly days?: number }
}

/** Every value that holds somewhere, after inheritance and defaults. */
export interface EffectivePolicy {
  readonly conflictStrategy: 'copies' | 'last-writer-wins'
  readonly localKeep: 'always' | 'cached'
  /** Days after which a replaced version leaves the history; 1 or more. */
  readonly historyDays: number
}

/** A mistake in a policy file. Lines and columns from 1. */
export interface PolicyProblem {
  readonly line: number
  readonly column: number
  /** What is wrong and what is allowed. */
  readonly message: string
}
