/** Makes the parser from the table of commands. */
import { Argument, Command, InvalidArgumentError, Option } from 'commander'
import { VERSION } from '../daemon/version.ts'
import type { ArgumentSpec, CommandSpec, OptionSpec } from './table.ts'
import { COMMON_OPTIONS, GROUPS } from './table.ts'

/** A parsed command line. */
export interface Chosen {
  readonly spec: CommandSpec
  readonly words: (string | undefined)[]
  readonly options: Record<string, unknown>
}

/** Where the parser prints: help that was asked for, and what goes with a thrown error. */
export interface ParserOutput {
  print(text: string): void
  complain(text: string): void
  readonly columns: number | undefined
}

/**
 * Parses the words after the program's name. Undefined when help or the version was asked for and
 * has been printed. @throws {CommanderError} for anything that is not a command line.
 */
export function parse(words: readonly string[], output: ParserOutput): Chosen | undefined {
  let chosen: Chosen | undefined
  const program = makeProgram(output, (choice) => (chosen = choice))
  program.parse(words as string[], { from: 'user' })
  return chosen
}

function makeProgram(output: ParserOutput, choose: (chosen: Chosen) => void): Command {
  const program = configure(new Command('wormhole'), output)
    .description('The disks of several machines become one encrypted folder.')
    .usage('<command> [options]')
    .version(VERSION, '-V, --version', 'print the version')
    .enablePositionalOptions()
    .helpCommand('help [command]', 'explain a command')
    .addHelpText('after', '\nEvery command explains itself: wormhole help <command>')
  for (const option of COMMON_OPTIONS) program.addOption(makeOption(option))
  for (const { title, commands } of GROUPS) {
    program.commandsGroup(title)
    for (const spec of commands) addCommand(program, spec, output, choose)
  }
  return program
}

function configure(command: Command, output: ParserOutput): Command {
  return command
    .exitOverride()
    .showSuggestionAfterError()
    .configureOutput({
      writeOut: (text) => output.print(text),
      writeErr: (text) => output.complain(text),
      getOutHelpWidth: () => output.columns ?? 100,
      getErrHelpWidth: () => output.columns ?? 100,
    })
}

function addCommand(
  parent: Command,
  spec: CommandSpec,
  output: ParserOutput,
  choose: (chosen: Chosen) => void,
): void {
  const command = configure(parent.command(spec.name, { hidden: spec.isHidden ?? false }), output)
  command.description(spec.about)
  for (const argument of spec.arguments ?? []) command.addArgument(makeArgument(argument))
  for (const option of [...(spec.options ?? []), ...COMMON_OPTIONS]) {
    command.addOption(makeOption(option))
  }
  for (const inner of spec.commands ?? []) addCommand(command, inner, output, choose)
  // Without an action, commander explains the group and refuses what is not one of its commands.
  if (spec.load === undefined) return
  command.action(() =>
    choose({ spec, words: command.processedArgs.flat(), options: command.optsWithGlobals() }),
  )
}

function makeArgument(spec: ArgumentSpec): Argument {
  const argument = new Argument(spec.name, spec.about)
  if (spec.choices) argument.choices(spec.choices)
  return argument
}

function makeOption(spec: OptionSpec): Option {
  const option = new Option(spec.flags, spec.about)
  if (spec.preset !== undefined) option.default(spec.preset)
  if (spec.choices) option.choices(spec.choices)
  if (spec.isRequired) option.makeOptionMandatory()
  if (spec.kind === 'list') {
    option.argParser((text: string, earlier: string[] | undefined) => [...(earlier ?? []), text])
  } else if (spec.kind === 'number' || spec.kind === 'count') {
    const isCount = spec.kind === 'count'
    option.argParser((text: string) => parseNumber(text, isCount))
  }
  return option
}

function parseNumber(text: string, isCount: boolean): number {
  const value = Number(text)
  const isValid = isCount ? /^[1-9]\d{0,8}$/.test(text) : /^\d{1,9}(\.\d+)?$/.test(text)
  if (!isValid) {
    throw new InvalidArgumentError(isCount ? 'It must be a whole number from 1.' : 'Not a number.')
  }
  return value
}
