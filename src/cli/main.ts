/**
 * From the words of a command line to an exit code: 0 done, 1 error, 2 usage, 70 bug, 130
 * interrupted. Everything a command does not need stays unloaded, so that one that only asks the
 * daemon is quick.
 */
import { CommanderError } from 'commander'
import { Context } from './context.ts'
import { EXIT_USAGE, describeFailure, formatFailure } from './errors.ts'
import { clean, formatJson } from './format.ts'
import { write, type Io } from './io.ts'
import { parse, type Chosen } from './parser.ts'

/** Runs one command line (without the program's name) to its end. Never rejects. */
export async function run(words: readonly string[], io: Io): Promise<number> {
  const printed: string[] = []
  const complaints: string[] = []
  let chosen: Chosen | undefined
  try {
    chosen = parse(words, {
      print: (text) => printed.push(text),
      complain: (text) => complaints.push(text),
      columns: io.stdout.columns,
    })
  } catch (error) {
    if (!(error instanceof CommanderError)) return fail(error, io, false)
    // Help that was asked for, and the version, end the parsing with code 0.
    if (error.exitCode !== 0) return failUsage(error, complaints, words, io)
  }
  await write(io.stdout, printed.join(''))
  return chosen === undefined ? 0 : runCommand(chosen, io)
}

async function runCommand(chosen: Chosen, io: Io): Promise<number> {
  const { spec, words, options } = chosen
  const isJson = options.json === true
  const context = new Context(io, {
    isJson,
    volume: options.volume as string | undefined,
  })
  try {
    const runner = await spec.load?.()
    return (await runner?.run(context, words, options)) ?? 0
  } catch (error) {
    return await fail(error, io, isJson)
  } finally {
    context.close()
  }
}

async function fail(error: unknown, io: Io, isJson: boolean): Promise<number> {
  const failure = describeFailure(error, io.signal.aborted)
  await write(io.stderr, formatFailure(failure, isJson))
  return failure.exitCode
}

async function failUsage(
  error: CommanderError,
  complaints: readonly string[],
  words: readonly string[],
  io: Io,
): Promise<number> {
  const isHelp = error.code === 'commander.help'
  const message = isHelp ? 'a command is missing' : oneLine(error.message.replace(/^error: /, ''))
  const hint = 'See: wormhole help.'
  if (words.includes('--json')) {
    const data = { error: { code: 'BAD_ARGUMENT', message, hint } }
    await write(io.stderr, `${formatJson(data)}\n`)
  } else if (isHelp) {
    await write(io.stderr, complaints.join(''))
  } else {
    const end = /[.?)]$/.test(message) ? '' : '.'
    await write(io.stderr, `wormhole: BAD_ARGUMENT: ${clean(message)}${end} ${hint}\n`)
  }
  return EXIT_USAGE
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ')
}
