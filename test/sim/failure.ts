/** What the checkers of the simulator say. */

/** The promises that are checked. */
export type Checker =
  | 'convergence'
  | 'durability'
  | 'integrity'
  | 'conflict'
  | 'causality'
  | 'liveness'
  | 'short-lived'
  | 'inode'
  | 'revocation'
  | 'answer'
  | 'bug'

/** A promise was broken. */
export class Failure extends Error {
  override readonly name = 'Failure'
  readonly checker: Checker

  constructor(checker: Checker, message: string, options?: ErrorOptions) {
    super(`${checker}: ${message}`, options)
    this.checker = checker
  }
}

/** @throws {Failure} unless the promise holds. */
export function check(holds: boolean, checker: Checker, message: () => string): asserts holds {
  if (!holds) throw new Failure(checker, message())
}
