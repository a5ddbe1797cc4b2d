/** Asking a person before something that is hard to take back. */
import { createInterface } from 'node:readline/promises'
import type { Context } from './context.ts'

/**
 * Whether the person says yes; `undefined` when there is nobody to ask (a pipe, `--json`): then the
 * command says which option means yes.
 */
export async function confirm(context: Context, question: string): Promise<boolean | undefined> {
  const { stdin, stderr, signal } = context.io
  const isTerminal = (stdin as { readonly isTTY?: boolean }).isTTY === true && stderr.isTTY === true
  if (context.isJson || !isTerminal) return undefined
  const lines = createInterface({ input: stdin, output: stderr })
  try {
    const answer = await lines.question(`${question} [y/N] `, { signal })
    return /^y(es)?$/i.test(answer.trim())
  } finally {
    lines.close()
  }
}
