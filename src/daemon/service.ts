/**
 * The systemd unit that serves one home after a reboot. Pure text; systemd.unit(5), systemd.exec(5)
 * and systemd.service(5) define the format.
 */
import path from 'node:path'
import { WormholeError } from '../errors.ts'
import { homeTag, type Environment } from './paths.ts'

/** What the unit is made for. */
export interface ServiceOptions {
  /** Absolute. */
  readonly home: string
  /** Whether `home` is what the program would use without `WORMHOLE_HOME`. */
  readonly isDefaultHome: boolean
  /** Program and words that start wormhole, absolute paths. */
  readonly program: readonly string[]
  readonly uid: number
  readonly env: Environment
}

/** A unit and how it is put to use. */
export interface ServiceUnit {
  readonly scope: 'system' | 'user'
  /** Absolute path of the unit file. */
  readonly file: string
  readonly text: string
  /** What to run after the file was written, in order. */
  readonly installCommands: readonly string[]
  /** What to run before it is removed. */
  readonly uninstallCommands: readonly string[]
}

/** Settings of this shell that the service must have too. */
const KEPT = ['WORMHOLE_BOOTSTRAP', 'WORMHOLE_BIND', 'WORMHOLE_LOG', 'WORMHOLE_RUNTIME'] as const
/** How long a clean stop may take: publish, unmount, close. */
const STOP_SECONDS = 90

/** The unit of a home: a system unit for root, else a user unit. @throws `BAD_ARGUMENT`. */
export function serviceUnit(options: ServiceOptions): ServiceUnit {
  const { home, isDefaultHome, uid, env } = options
  const scope = uid === 0 ? 'system' : 'user'
  const name = isDefaultHome ? 'wormhole.service' : `wormhole-${homeTag(home)}.service`
  const control = scope === 'user' ? 'systemctl --user' : 'systemctl'
  return {
    scope,
    file: path.join(unitDirectory(scope, env), name),
    text: unitText(options, scope),
    installCommands: [
      `${control} daemon-reload`,
      'wormhole down',
      `${control} enable --now ${name}`,
      ...(scope === 'user' ? ['loginctl enable-linger'] : []),
    ],
    uninstallCommands: [`${control} disable --now ${name}`, `${control} daemon-reload`],
  }
}

function unitDirectory(scope: 'system' | 'user', env: Environment): string {
  if (scope === 'system') return '/etc/systemd/system'
  const base = env.XDG_CONFIG_HOME ?? (env.HOME && path.join(env.HOME, '.config'))
  if (!base || !path.isAbsolute(base)) {
    throw new WormholeError('BAD_ARGUMENT', 'there is no home directory: HOME is not set')
  }
  return path.join(base, 'systemd', 'user')
}

function unitText(options: ServiceOptions, scope: 'system' | 'user'): string {
  const settings: [string, string][] = [['WORMHOLE_HOME', options.home]]
  for (const name of KEPT) {
    const value = options.env[name]
    if (value) settings.push([name, value])
  }
  const command = [...options.program, 'up', '--foreground'].map((word) => quote(word, true))
  return [
    '[Unit]',
    `Description=Wormhole, home ${quoteText(options.home)}`,
    ...(scope === 'system' ? ['Wants=network-online.target', 'After=network-online.target'] : []),
    'After=local-fs.target',
    '# A home that cannot be opened is not tried for ever.',
    'StartLimitIntervalSec=300',
    'StartLimitBurst=10',
    '',
    '[Service]',
    'Type=exec',
    ...settings.map(([name, value]) => `Environment=${quote(`${name}=${value}`, false)}`),
    `ExecStart=${command.join(' ')}`,
    'Restart=on-failure',
    'RestartSec=3',
    '# The daemon unmounts and closes by itself; only what is left after that is killed.',
    'KillMode=mixed',
    `TimeoutStopSec=${STOP_SECONDS}`,
    'LimitNOFILE=65536',
    '',
    '[Install]',
    `WantedBy=${scope === 'system' ? 'multi-user.target' : 'default.target'}`,
    '',
  ].join('\n')
}

/** A quoted word; `%` starts a specifier, and `$` a variable, but only in commands. */
function quote(word: string, isCommand: boolean): string {
  const escaped = quoteText(word).replace(/(["\\])/g, '\\$1')
  return `"${isCommand ? escaped.replaceAll('$', '$$$$') : escaped}"`
}

function quoteText(text: string): string {
  if (/[\0-\x1f\x7f]/.test(text)) {
    throw new WormholeError('BAD_ARGUMENT', `${JSON.stringify(text)} cannot stand in a unit file`)
  }
  return text.replaceAll('%', '%%')
}
