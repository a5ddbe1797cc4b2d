/** Asking a person before something that is hard to take back. */
import { createInterface } from 'node:readline/promises'
import type { Context } from './context.ts'

/**
 * What the person types, without blanks around it; empty at the end of input. Undefined when there
 * is nobody to ask (a pipe, `--json`): then the command says which option means yes.
 */
export async function ask(context: Context, question: string): Promise<string | undefined> {
  const { stdin, stderr, signal } = context.io
  const isTerminal = (stdin as { readonly isTTY?: boolean }).isTTY === true
  if (context.isJson || !isTerminal) return undefined
  const lines = createInterface({ input: stdin, output: stderr, terminal: false })
  try {
    // Without a listener Ctrl-D would leave the question open for ever.
    const isOver = new Promise<string>((resolve) => lines.once('close', () => resolve('')))
    const answer = await Promise.race([lines.question(question, { signal }), isOver])
    return answer.trim()
  } finally {
    lines.close()
  }
}
