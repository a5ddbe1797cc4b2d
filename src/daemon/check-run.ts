/** Starts the checking process and tells what it finds. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { errorFromData, WormholeError } from '../errors.ts'
import { siblingModule } from '../module-url.ts'
import { CHECK_PARTS, type CheckNews, type CheckOrder, type CheckPart } from './check-order.ts'

/** The words that make node run a module, from a file or from the text of a `data:` URL. */
function nodeWords(url: URL): string[] {
  if (url.protocol === 'file:') return [fileURLToPath(url)]
  const code = decodeURIComponent(url.href.slice(url.href.indexOf(',') + 1))
  return ['--input-type=module', '-e', code]
}

/** What ended a check before its time. */
class CheckDeath extends Error {
  readonly part: CheckPart | undefined

  constructor(part: CheckPart | undefined, how: string) {
    super(`the check of the ${part ?? 'volume'} died: ${how}`)
    this.part = part
  }
}

/**
 * Checks a volume in a process of its own. A damaged index may end that process: that is a finding,
 * and the other parts are checked by another one.
 *
 * @throws {WormholeError} `ABORTED`, and what the check throws.
 */
export async function runCheck(
  order: Pick<CheckOrder, 'data'> & Partial<CheckOrder>,
  options: { readonly signal: AbortSignal; readonly onNews: (news: CheckNews) => void },
): Promise<void> {
  let parts = order.parts ?? CHECK_PARTS
  for (;;) {
    try {
      await runOnce({ ...order, parts }, options)
      return
    } catch (error) {
      if (!(error instanceof CheckDeath) || error.part === undefined) throw error
      const { part } = error
      const path = `${order.data.paths.index}/data.mdb`
      const finding = { part, code: 'INDEX_CORRUPT', message: error.message, path } as const
      options.onNews({ type: 'finding', finding })
      const isIndex = part === 'index' || part === 'contents'
      parts = isIndex ? [] : parts.slice(parts.indexOf(part) + 1)
      if (parts.length === 0) return
    }
  }
}

function runOnce(
  order: CheckOrder,
  options: { readonly signal: AbortSignal; readonly onNews: (news: CheckNews) => void },
): Promise<void> {
  const { signal, onNews } = options
  if (signal.aborted) return Promise.reject(new WormholeError('ABORTED', 'interrupted'))
  const words = nodeWords(siblingModule(import.meta.url, './check-process'))
  const child = spawn(process.execPath, words, {
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    serialization: 'advanced',
  })
  const onAbort = (): void => void child.kill('SIGKILL')
  signal.addEventListener('abort', onAbort, { once: true })
  return new Promise<void>((resolve, reject) => {
    let part: CheckPart | undefined
    let isDone = false
    child.on('message', (message) => {
      const news = message as CheckNews
      if (news.type === 'begun') part = news.part
      if (news.type === 'done') isDone = true
      else if (news.type === 'failed') reject(errorFromData(news.error))
      else onNews(news)
    })
    child.on('error', reject)
    child.on('exit', (code, killedBy) => {
      if (isDone) resolve()
      else if (signal.aborted) reject(new WormholeError('ABORTED', 'interrupted'))
      else reject(new CheckDeath(part, killedBy ?? `code ${code}`))
    })
    child.send(order, (error) => error && reject(error))
  }).finally(() => signal.removeEventListener('abort', onAbort))
}
