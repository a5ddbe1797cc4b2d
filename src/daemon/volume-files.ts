/** File contents between the control socket (main thread) and the fs thread, piece by piece. */
import type { Rpc } from '../rpc.ts'
import type { FsApi } from './fs-thread.ts'
import type { FileReport } from './interface.ts'
import { fileReport } from './reports.ts'

/** The bytes of a file, or of one of its versions. */
export async function* readFile(
  fs: Rpc<FsApi>,
  path: string,
  version: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const content =
    version === undefined ? undefined : await fs.call('versionContent', { path, version })
  const id = await fs.call('openRead', content ? { path, content } : { path })
  try {
    for (;;) {
      const piece = await fs.call('readPiece', id, { signal })
      if (!piece) return
      yield piece
    }
  } finally {
    await fs.call('closeRead', id)
  }
}

/** Creates or replaces a file, whole or not at all; published when it resolves. */
export async function writeFile(
  fs: Rpc<FsApi>,
  path: string,
  pieces: AsyncIterable<Uint8Array>,
  options: { mode?: number },
): Promise<FileReport> {
  const id = await fs.call('openWrite', { path, ...options })
  try {
    for await (const piece of pieces) await fs.call('writePiece', { id, bytes: piece })
  } catch (error) {
    await fs.call('abortWrite', id)
    throw error
  }
  return fileReport(await fs.call('finishWrite', id))
}
