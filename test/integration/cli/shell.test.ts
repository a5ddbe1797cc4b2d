/**
 * Proves that the completion scripts are valid and complete what they should, that the doctor
 * reports, and what the service command prints. Real shells where they are installed.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { completionScript, type Shell } from '../../../src/cli/commands/completion.ts'
import type { DoctorReport } from '../../../src/cli/interface.ts'
import { GROUPS } from '../../../src/cli/table.ts'
import { runInProcess, serveFakeHome, temporaryDirectory } from '../../helpers/cli.ts'

for (const shell of ['bash', 'zsh', 'fish'] as Shell[]) {
  const isMissing = spawnSync(shell, ['-c', 'true']).error !== undefined
  const skip = isMissing ? `${shell} is not installed` : false
  test(`shell: the ${shell} script is valid`, { skip }, (t) => {
    const file = path.join(temporaryDirectory(t), 'script')
    fs.writeFileSync(file, completionScript(shell))
    const { status, stderr } = spawnSync(shell, ['-n', file], { encoding: 'utf8' })
    assert.deepEqual([status, stderr], [0, ''])
  })
}

test('shell: every script names every command that is not hidden', () => {
  for (const shell of ['bash', 'zsh', 'fish'] as Shell[]) {
    const script = completionScript(shell)
    for (const { name, isHidden } of GROUPS.flatMap(({ commands }) => commands)) {
      if (!isHidden) assert.ok(script.includes(name), `${name} in ${shell}`)
    }
  }
})

/** What bash offers for a command line whose last word is being typed. */
function complete(words: string[]): string[] {
  const quoted = words.map((word) => `'${word}'`).join(' ')
  const program = `shopt -s extglob
${completionScript('bash')}
COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}; _wormhole
printf '%s\\n' "\${COMPREPLY[@]}"`
  return execFileSync('bash', ['-c', program], { encoding: 'utf8', cwd: '/proc/self' })
    .split('\n')
    .filter((word) => word !== '')
}

test('shell: what bash completes', () => {
  assert.deepEqual(complete(['wormhole', 'st']), ['status'])
  assert.deepEqual(complete(['wormhole', '--json', 'st']), ['status'])
  assert.deepEqual(complete(['wormhole', 'conflicts', 'res']), ['resolve'])
  assert.deepEqual(complete(['wormhole', 'conflicts', 'resolve', '/x', '--k']), ['--keep'])
  assert.deepEqual(complete(['wormhole', 'completion', 'f']).includes('fish'), true)
  assert.deepEqual(complete(['wormhole', 'sync', '--w']), ['--wait'])
  assert.ok(complete(['wormhole', 'put', 'stat']).includes('status'), 'files of this machine')
  assert.ok(!complete(['wormhole', '']).includes('daemon'))
})

test('shell: the doctor reports every check', async (t) => {
  const { wormhole } = await serveFakeHome(t)
  const { code, stdout, stderr } = await wormhole(['doctor', '--json'])
  assert.equal(stderr, '')
  const report = JSON.parse(stdout) as DoctorReport
  assert.equal(code, report.isHealthy ? 0 : 1)
  const states = new Map(report.checks.map((check) => [check.name, check.state]))
  for (const name of ['node', 'clock', 'environment', 'disk', 'udp', 'tcp', 'daemon']) {
    assert.equal(states.get(name), 'ok', JSON.stringify(report.checks))
  }
  for (const check of report.checks) assert.equal(check.advice === undefined, check.state === 'ok')
  const wrong = await wormhole(['doctor', '--json'], { env: { WORMHOLE_BIND: '192.0.2.1' } })
  const bind = (JSON.parse(wrong.stdout) as DoctorReport).checks.find(({ name }) => name === 'tcp')
  assert.equal(wrong.code, 1)
  assert.equal(bind?.state, 'failed')
  assert.match(bind?.advice ?? '', /WORMHOLE_BIND/)
})

test('shell: service install --print writes nothing but the unit', async () => {
  const env = { WORMHOLE_HOME: '/srv/wormhole', HOME: '/nonexistent' }
  const { code, stdout } = await runInProcess(['service', 'install', '--print'], env)
  assert.equal(code, 0)
  assert.match(stdout, /^\[Unit\]\n[^]*WORMHOLE_HOME=\/srv\/wormhole[^]*"up" "--foreground"\n/)
  const json = await runInProcess(['service', 'install', '--print', '--json'], env)
  const report = JSON.parse(json.stdout) as { file: string; text: string }
  assert.equal(report.text.trimEnd(), stdout.trimEnd())
  assert.equal(fs.existsSync(report.file), false)
})
