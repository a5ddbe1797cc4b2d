/**
 * What a command costs that only asks the daemon. Beside it the same time for a Node process that
 * does nothing: most of it is that. Rounds are interleaved, so that a busy machine is fair to all.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { whyNoMount, type Device } from '../../test/helpers/process.ts'
import { median, type Group, type Report } from '../measure.ts'
import { childCpuSeconds, secondsOf, withDevices } from '../workload.ts'

const ROUNDS = 20
/** What a person does not notice. */
const BAR_MS = 150

/** One program that is run again and again. */
interface Candidate {
  readonly words: readonly string[]
  readonly wallMs: number[]
  cpuSeconds: number
}

function runOnce(candidate: Candidate, env: NodeJS.ProcessEnv): void {
  const [program, ...words] = candidate.words as [string, ...string[]]
  const startCpu = childCpuSeconds()
  const seconds = secondsOf(() => {
    const { status } = spawnSync(program, words, { env, stdio: ['ignore', 'pipe', 'inherit'] })
    if (status !== 0) throw new Error(`exit ${status}: ${words.join(' ')}`)
  })
  candidate.wallMs.push(seconds * 1000)
  candidate.cpuSeconds += childCpuSeconds() - startCpu
}

async function measure(report: Report, device: Device, empty: string): Promise<void> {
  const candidate = (words: readonly string[]): Candidate => ({ words, wallMs: [], cpuSeconds: 0 })
  const node = candidate([process.execPath, empty])
  const commands = {
    version: candidate(device.words(['version'])),
    status: candidate(device.words(['status'])),
  }
  for (const each of [node, ...Object.values(commands)]) runOnce(each, device.env)
  for (const each of [node, ...Object.values(commands)]) {
    each.wallMs.length = 0
    each.cpuSeconds = 0
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const each of [node, ...Object.values(commands)]) runOnce(each, device.env)
  }
  const nodeMs = median(node.wallMs)
  const samples = (each: Candidate, value: number) => ({
    value,
    cpuSeconds: each.cpuSeconds,
    wallSeconds: each.wallMs.reduce((sum, ms) => sum + ms, 0) / 1000,
  })
  report.take({ name: 'node', unit: 'ms', better: 'lower' }, samples(node, nodeMs))
  for (const [name, each] of Object.entries(commands)) {
    const valueMs = median(each.wallMs)
    const figure = { name, unit: 'ms', better: 'lower', bar: BAR_MS } as const
    report.take(figure, samples(each, valueMs))
    const ratio = { name: `${name}_ratio`, unit: 'x', better: 'lower' } as const
    report.take(ratio, samples(each, valueMs / nodeMs))
  }
}

/** See the head of this file. */
export const group: Group = {
  name: 'cli',
  about: 'commands that only ask the daemon, beside an empty Node process',
  whyNot: () => whyNoMount(),
  async run(report) {
    const directory = fs.mkdtempSync(path.join(tmpdir(), 'wormhole-bench-'))
    const empty = path.join(directory, 'empty.mjs')
    fs.writeFileSync(empty, '')
    try {
      await withDevices(['alice'], ({ alice }) => measure(report, alice, empty))
    } finally {
      fs.rmSync(directory, { recursive: true, force: true })
    }
  },
}
