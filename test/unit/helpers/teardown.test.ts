/**
 * Proves that tests are taken down in reverse order, completely, and also when their process is
 * terminated. Uses a stand-in for the test context, and a child process that is sent SIGTERM.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { waitFor } from '../../helpers/process.ts'
import { atEnd, atEndOrExit } from '../../helpers/teardown.ts'

test('the last made is taken down first, and a failure does not stop the rest', async () => {
  const order: string[] = []
  let end: () => void | Promise<void> = () => {}
  const t = { after: (run: () => void | Promise<void>): void => void (end = run) }
  atEnd(t, () => void order.push('first made'))
  atEndOrExit(t, () => {
    throw new Error('stuck')
  })
  atEnd(t, async () => {
    await Promise.resolve()
    order.push('last made')
  })
  await assert.rejects(async () => end(), { message: 'stuck' })
  assert.deepEqual(order, ['last made', 'first made'])
})

test('a terminated process still cleans up', async () => {
  const helper = fileURLToPath(new URL('../../helpers/teardown.ts', import.meta.url))
  const script = `
    import { atEnd, atEndOrExit } from ${JSON.stringify(helper)}
    const t = { after() {} }
    atEndOrExit(t, () => console.log('cleaned'))
    atEnd(t, () => console.log('not at exit'))
    setInterval(() => {}, 1000)
    console.log('ready')`
  const flags = ['--import', './scripts/typescript.mjs', '--input-type=module', '-e', script]
  const child = spawn(process.execPath, flags, { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
  await waitFor(() => said.includes('ready'))
  child.kill('SIGTERM')
  const [code] = (await once(child, 'close')) as [number]
  assert.equal(code, 143)
  assert.equal(said, 'ready\ncleaned\n')
})

test('waiting ends with the value, or with the reason', async () => {
  let count = 0
  assert.equal(await waitFor(() => (++count === 3 ? 'done' : '')), 'done')
  const never = waitFor(
    () => {
      throw new Error('because')
    },
    { timeoutMs: 30, what: 'the impossible', onTimeout: () => 'the logs' },
  )
  await assert.rejects(never, (error: Error) => {
    assert.match(error.message, /not within 30 ms: the impossible\nthe logs/)
    return (error.cause as Error).message === 'because'
  })
})
