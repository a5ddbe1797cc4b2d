/**
 * The end of a test: what was made last is taken down first, everything is tried, and what is
 * synchronous also happens when the process is ended from outside (a timeout, Ctrl-C).
 */

/** Where the end of a test is awaited; `TestContext` of node:test is one. */
export interface Teardown {
  after(run: () => void | Promise<void>): void
}

interface Step {
  readonly run: () => void | Promise<void>
  readonly isForExit: boolean
}

const stacks = new Map<Teardown, Step[]>()

/** Runs what can still be run when no more promises will be served. */
function runAtExit(): void {
  for (const steps of stacks.values()) {
    for (const { run, isForExit } of steps.splice(0).reverse()) {
      try {
        if (isForExit) void run()
      } catch (error) {
        console.error('cleaning up failed:', error)
      }
    }
  }
}

async function runSteps(t: Teardown): Promise<void> {
  const errors: unknown[] = []
  const steps = stacks.get(t) ?? []
  for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
    try {
      await step.run()
    } catch (error) {
      errors.push(error)
    }
  }
  stacks.delete(t)
  if (errors.length === 1) throw errors[0]
  if (errors.length > 1) throw new AggregateError(errors, 'taking down the test failed')
}

function push(t: Teardown, step: Step): void {
  if (stacks.size === 0 && !process.listeners('exit').includes(runAtExit)) {
    process.on('exit', runAtExit)
    for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(143))
  }
  const steps = stacks.get(t)
  if (steps !== undefined) {
    steps.push(step)
  } else {
    stacks.set(t, [step])
    t.after(() => runSteps(t))
  }
}

/** Runs at the end of `t`, before what was registered earlier. A rejection fails the test. */
export function atEnd(t: Teardown, run: () => void | Promise<void>): void {
  push(t, { run, isForExit: false })
}

/** As `atEnd`, and also when this process exits before the end of `t`. */
export function atEndOrExit(t: Teardown, run: () => void): void {
  push(t, { run, isForExit: true })
}
