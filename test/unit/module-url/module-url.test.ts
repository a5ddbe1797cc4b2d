/**
 * Proves that a worker can be started from source and from compiled code through `siblingModule`.
 * The source case starts a real thread that imports TypeScript; the compiled case checks the URL.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { siblingModule } from '../../../src/module-url.ts'

test('a worker starts from TypeScript source', async () => {
  const worker = new Worker(siblingModule(import.meta.url, './echo'), { workerData: 'caf\xc3\xa9' })
  const [message] = (await once(worker, 'message')) as [{ answer: string; url: string }]
  await worker.terminate()
  assert.equal(message.answer, 'café')
  assert.match(message.url, /unit\/module-url\/echo\.ts/)
})

test('compiled code gets the .js file beside it', () => {
  const url = siblingModule('file:///opt/wormhole/dist/daemon/threads.js', './worker')
  assert.equal(url.href, 'file:///opt/wormhole/dist/daemon/worker.js')
  const up = siblingModule('file:///opt/a%20b/dist/daemon/threads.js', '../vfs/worker')
  assert.equal(up.href, 'file:///opt/a%20b/dist/vfs/worker.js')
})

test('a query of the loader does not hide that this is source', () => {
  const url = siblingModule('file:///opt/src/daemon/threads.ts?version=1', './worker')
  assert.equal(url.protocol, 'data:')
  assert.match(decodeURIComponent(url.pathname), /file:\/\/\/opt\/src\/daemon\/worker\.ts/)
})
