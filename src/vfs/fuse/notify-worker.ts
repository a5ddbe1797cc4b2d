/**
 * The notification thread: writes what it is sent to the FUSE device, one notification per
 * write(2), blocking as long as the kernel likes. It knows nothing else and holds nothing that
 * others wait for.
 */
import fs from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import type { NotifyReply, NotifyRequest } from './notify.ts'

/**
 * Normal answers. ENOENT: the kernel has no such node or name cached. ENOTDIR: it caches the
 * parent as something else. ENOTEMPTY, EBUSY: a directory in use stays. ENODEV, ENOTCONN:
 * unmounted.
 */
const EXPECTED = new Set(['ENOENT', 'ENOTDIR', 'ENOTEMPTY', 'EBUSY', 'ENODEV', 'ENOTCONN'])
/** More of one batch are not reported. */
const REPORTED_MAX = 4

const { descriptor } = workerData as { descriptor: number }

function writeBatch(batch: Uint8Array): NotifyReply {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength)
  const unexpected: string[] = []
  for (let at = 0; at < batch.length;) {
    const length = view.getUint32(at, true)
    try {
      fs.writeSync(descriptor, batch, at, length)
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (!EXPECTED.has(code ?? '') && unexpected.length < REPORTED_MAX) unexpected.push(message)
    }
    at += length
  }
  return { unexpected }
}

parentPort?.on('message', (request: NotifyRequest) => {
  if ('stop' in request) parentPort?.close()
  else parentPort?.postMessage(writeBatch(request.batch))
})
