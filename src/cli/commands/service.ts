/** `wormhole service install` and `uninstall`: the daemon after a reboot, by systemd. */
import fs from 'node:fs'
import path from 'node:path'
import { fromErrno } from '../../errors.ts'
import { homeDirectory } from '../../daemon/paths.ts'
import { serviceUnit, type ServiceUnit } from '../../daemon/service.ts'
import { EXIT_DONE, type Context } from '../context.ts'
import type { ServiceReport } from '../interface.ts'

/** Writes the unit, or only prints it. Writing the same again changes nothing. */
export async function install(
  context: Context,
  _words: unknown,
  options: { print?: boolean },
): Promise<number> {
  const unit = unitOf(context)
  if (options.print) {
    await context.report({ file: unit.file, text: unit.text }, () => unit.text.trimEnd())
    return EXIT_DONE
  }
  const isChanged = writeUnit(unit)
  const report = makeReport(unit, isChanged, unit.installCommands)
  await context.report(report, () =>
    [
      `${isChanged ? 'Wrote' : 'Already there:'} ${unit.file}`,
      'Now run:',
      ...report.commands.map((command) => `  ${command}`),
    ].join('\n'),
  )
  return EXIT_DONE
}

/** Removes the unit. Its absence is not an error. */
export async function uninstall(context: Context): Promise<number> {
  const unit = unitOf(context)
  const isChanged = fs.existsSync(unit.file)
  guard(unit, () => fs.rmSync(unit.file, { force: true }))
  const report = makeReport(unit, isChanged, isChanged ? unit.uninstallCommands : [])
  await context.report(report, () =>
    isChanged
      ? [`Removed ${unit.file}`, 'Now run:', ...report.commands.map((one) => `  ${one}`)].join('\n')
      : `There is no ${unit.file}`,
  )
  return EXIT_DONE
}

function unitOf(context: Context): ServiceUnit {
  const { io, home } = context
  const { WORMHOLE_HOME: _own, ...others } = io.env
  return serviceUnit({
    home,
    isDefaultHome: !io.env.WORMHOLE_HOME || home === homeDirectory(others, io.cwd),
    program: io.restart,
    uid: process.getuid?.() ?? 0,
    env: io.env,
  })
}

function writeUnit(unit: ServiceUnit): boolean {
  return guard(unit, () => {
    if (fs.existsSync(unit.file) && fs.readFileSync(unit.file, 'utf8') === unit.text) return false
    fs.mkdirSync(path.dirname(unit.file), { recursive: true })
    fs.writeFileSync(`${unit.file}.new`, unit.text, { mode: 0o644 })
    fs.renameSync(`${unit.file}.new`, unit.file)
    return true
  })
}

function guard<T>(unit: ServiceUnit, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw fromErrno(error, `write ${unit.file}`)
  }
}

function makeReport(
  unit: ServiceUnit,
  isChanged: boolean,
  commands: readonly string[],
): ServiceReport {
  return { file: unit.file, scope: unit.scope, isChanged, commands: [...commands] }
}
