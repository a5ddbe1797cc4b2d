/**
 * The processes of one home: its daemon, as the lock file names it, and what the daemon started.
 *
 * Other processes are never looked at. Listing all of them (as ps does) blocks for good as soon as
 * one of them, anywhere on the machine, is stuck in a mount that its own daemon does not serve.
 */
import fs from 'node:fs'
import path from 'node:path'

/** Whether `run` works; false when what it reads or signals has ended. */
function succeeds(run: () => void): boolean {
  try {
    run()
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return false
    throw error
  }
}

/** The process that the lock file of `home` names. It may have ended. */
function holderPid(home: string): number | undefined {
  const file = path.join(home, 'daemon.lock')
  const text = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : ''
  return Number(/"pid":(\d+)/.exec(text)?.[1]) || undefined
}

/** Whether a process was started for `home`; false when it has ended. */
function isOf(home: string, pid: number): boolean {
  const wanted = Buffer.from(`WORMHOLE_HOME=${home}\0`)
  let isOurs = false
  succeeds(() => {
    isOurs = fs.readFileSync(`/proc/${pid}/environ`).includes(wanted)
  })
  return isOurs
}

/**
 * Whether a process lives. One that waits to be reaped still takes signals, but has no open files
 * any more, and the list of them belongs to root.
 */
function isAlive(pid: number): boolean {
  if (!succeeds(() => process.kill(pid, 0))) return false
  try {
    return fs.readdirSync(`/proc/${pid}/fd`).length > 0
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES') return false
    throw error
  }
}

function childrenOf(pid: number): number[] {
  let children: number[] = []
  succeeds(() => {
    children = fs.readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
      const text = fs.readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8')
      return text.split(' ').filter(Boolean).map(Number)
    })
  })
  return children
}

/** The processes of one home, remembered from when they were first seen until they end. */
export class HomeProcesses {
  readonly #home: string
  readonly #known = new Set<number>()

  constructor(home: string) {
    this.#home = home
  }

  #learn(pid: number): void {
    if (!this.#known.has(pid) && !(isAlive(pid) && isOf(this.#home, pid))) return
    this.#known.add(pid)
    for (const child of childrenOf(pid)) this.#learn(child)
  }

  /** Those that live now. Call it while the daemon lives, so that its children are known later. */
  list(): number[] {
    const holder = holderPid(this.#home)
    for (const pid of [...this.#known]) {
      if (!isAlive(pid)) this.#known.delete(pid)
    }
    for (const pid of new Set([...this.#known, ...(holder === undefined ? [] : [holder])])) {
      this.#learn(pid)
    }
    return [...this.#known]
  }

  /** Sends a signal to all that live; returns how many there were. */
  signal(signal: NodeJS.Signals): number {
    const pids = this.list()
    for (const pid of pids) succeeds(() => process.kill(pid, signal))
    return pids.length
  }
}
