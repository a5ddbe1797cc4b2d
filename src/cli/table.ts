/**
 * Every command: its words, its options and where its code is. The parser, the help and the shell
 * completions are made from this table; a command's module is loaded only when it runs.
 */
import type { Context } from './context.ts'

/** An option in commander's notation. */
export interface OptionSpec {
  /** As in `-l, --long` or `--mount <dir>`. */
  readonly flags: string
  readonly about: string
  /** `number`: from 0; `count`: whole, from 1; `list`: may be repeated. Else text or flag. */
  readonly kind?: 'number' | 'count' | 'list'
  readonly preset?: string | number
  readonly choices?: readonly string[]
  readonly isRequired?: boolean
}

/** A positional argument: `<required>` or `[optional]`. */
export interface ArgumentSpec {
  readonly name: string
  readonly about: string
  readonly choices?: readonly string[]
}

/** A command's code. Resolves with the exit code. */
export interface Runner {
  run(context: Context, words: (string | undefined)[], options: object): Promise<number>
}

/** One command. A group without code of its own has no `load`. */
export interface CommandSpec {
  readonly name: string
  readonly about: string
  readonly arguments?: readonly ArgumentSpec[]
  readonly options?: readonly OptionSpec[]
  readonly commands?: readonly CommandSpec[]
  readonly isHidden?: boolean
  load?(): Promise<Runner>
}

/** Options that every command takes. */
export const COMMON_OPTIONS: readonly OptionSpec[] = [
  { flags: '--json', about: 'print one JSON object or array instead of text' },
  { flags: '--volume <name>', about: 'which volume, by name or id, when there are several' },
]

const PATH: ArgumentSpec = { name: '<path>', about: 'from the root of the volume, or in a mount' }
const OPTIONAL_PATH: ArgumentSpec = { ...PATH, name: '[path]' }
const RECURSIVE: OptionSpec = { flags: '-r, --recursive', about: 'a directory and all in it' }

const OWNER: OptionSpec = {
  flags: '--owner <whom>',
  about: 'whom files belong to: numeric (as written, default for root) or mounter (all to you)',
}

const DEVICE_OPTIONS: readonly OptionSpec[] = [
  { flags: '--mount <dir>', about: 'mount the volume at this directory' },
  OWNER,
  { flags: '--device <name>', about: "this device's name; default: the host's name" },
  { flags: '--label <key=value>', about: 'a label of this device, may be repeated', kind: 'list' },
]

const GETTING_STARTED: readonly CommandSpec[] = [
  {
    name: 'init',
    about: 'create a volume, mount it, and print the invite for other devices',
    options: [
      { flags: '--name <name>', about: "the volume's name; default: the mount's last part" },
      { flags: '--another', about: 'also when this home has a volume already' },
      ...DEVICE_OPTIONS,
    ],
    load: async () => ({ run: (await import('./commands/create.ts')).init }),
  },
  {
    name: 'join',
    about: 'join a volume with an invite',
    arguments: [{ name: '<invite>', about: 'what init or invite printed; - reads it from input' }],
    options: DEVICE_OPTIONS,
    load: async () => ({ run: (await import('./commands/create.ts')).join }),
  },
  {
    name: 'up',
    about: 'start the daemon and mount every volume',
    options: [{ flags: '--foreground', about: 'do not go into the background' }],
    load: async () => ({ run: (await import('./commands/up.ts')).up }),
  },
  {
    name: 'down',
    about: 'unmount every volume and stop the daemon',
    options: [
      { flags: '--timeout <seconds>', about: 'how long to wait', kind: 'number', preset: 60 },
    ],
    load: async () => ({ run: (await import('./commands/process.ts')).down }),
  },
  {
    name: 'daemon',
    about: 'serve the home in this process',
    isHidden: true,
    load: async () => ({ run: (await import('./commands/process.ts')).daemon }),
  },
]

const RESTORE: CommandSpec = {
  name: 'restore',
  about: 'bring back what was deleted or changed',
  arguments: [PATH],
  options: [
    {
      flags: '--at <time|version>',
      about: 'as of when: 2026-11-28 14:03, 2h (ago), or a version from history',
    },
    { flags: '--to <dir>', about: 'as copies in this directory of the volume' },
    { flags: '--dry-run', about: 'only say what would be done' },
  ],
  load: async () => ({ run: (await import('./commands/restore.ts')).restore }),
}

const LOOKING: readonly CommandSpec[] = [
  {
    name: 'status',
    about: 'what is mounted, synced and missing',
    options: [
      {
        flags: '--since-offline',
        about: 'instead: what other devices changed since this one was last without any',
      },
      { flags: '--all', about: 'with --since-offline: every change, not the newest ones' },
    ],
    load: async () => ({ run: (await import('./commands/reports.ts')).status }),
  },
  {
    name: 'devices',
    about: 'who is in the volume',
    load: async () => ({ run: (await import('./commands/reports.ts')).devices }),
  },
  {
    name: 'peers',
    about: 'connected devices, their routes and speeds',
    load: async () => ({ run: (await import('./commands/reports.ts')).peers }),
  },
  {
    name: 'where',
    about: 'which devices hold the bytes of a file',
    arguments: [PATH],
    load: async () => ({ run: (await import('./commands/reports.ts')).where }),
  },
  {
    name: 'history',
    about: 'the versions of a file',
    arguments: [PATH],
    load: async () => ({ run: (await import('./commands/reports.ts')).history }),
  },
  RESTORE,
]

const AGREEING: readonly CommandSpec[] = [
  {
    name: 'sync',
    about: 'ask every member for news, and give them ours',
    options: [
      { flags: '--wait', about: 'wait until this device and all who answer are equal' },
      {
        flags: '--timeout <seconds>',
        about: 'how long; 60 with --wait, else 5',
        kind: 'number',
      },
      { flags: '--require <n>', about: 'fail if fewer members are in sync', kind: 'number' },
    ],
    load: async () => ({ run: (await import('./commands/sync.ts')).sync }),
  },
  {
    name: 'conflicts',
    about: 'what was edited on two devices at a time',
    arguments: [OPTIONAL_PATH],
    options: [{ flags: '--watch', about: 'go on, and tell of each one that comes or ends' }],
    load: async () => ({ run: (await import('./commands/conflicts.ts')).conflicts }),
    commands: [
      {
        name: 'show',
        about: 'the versions of a conflict, and what differs where they are text',
        arguments: [PATH],
        load: async () => ({ run: (await import('./commands/conflicts.ts')).show }),
      },
      {
        name: 'resolve',
        about: 'settle a conflict, or all of them',
        arguments: [OPTIONAL_PATH],
        options: [
          {
            flags: '--keep <version>',
            about: 'a number from the list, newest, mine, theirs, or both as separate files',
            isRequired: true,
          },
          { flags: '--all', about: 'every conflict at and below the path' },
          { flags: '--dry-run', about: 'with --all: only say what would be kept' },
          { flags: '-y, --yes', about: 'with --all: do not ask' },
        ],
        load: async () => ({ run: (await import('./commands/conflicts.ts')).resolve }),
      },
    ],
  },
  {
    name: 'policy',
    about: 'the rules of folders',
    commands: [
      {
        name: 'check',
        about: 'validate policy files: of this machine without a daemon, or of a volume',
        arguments: [{ ...PATH, name: '[paths...]' }],
        load: async () => ({ run: (await import('./commands/policy.ts')).check }),
      },
      {
        name: 'explain',
        about: 'which rule decides what for a path',
        arguments: [PATH],
        options: [
          { flags: '--device <name>', about: 'what holds on that device; default: this one' },
        ],
        load: async () => ({ run: (await import('./commands/policy.ts')).explain }),
      },
      {
        name: 'init',
        about: 'write a commented .wormhole.toml; never over one that is there',
        arguments: [
          { name: '[directory]', about: 'of this machine; default: this one; - prints it instead' },
        ],
        options: [
          {
            flags: '--for <whom>',
            about: 'who uses the folder',
            choices: ['personal', 'company', 'laboratory', 'web'],
            preset: 'personal',
          },
        ],
        load: async () => ({ run: (await import('./commands/policy.ts')).init }),
      },
      {
        name: 'schema',
        about: 'print the JSON schema of policy files, for completion in editors',
        load: async () => ({ run: (await import('./commands/policy.ts')).schema }),
      },
    ],
  },
]

const FILES: readonly CommandSpec[] = [
  {
    name: 'ls',
    about: 'list a directory',
    arguments: [OPTIONAL_PATH],
    options: [{ flags: '-l, --long', about: 'with mode, size and time' }],
    load: async () => ({ run: (await import('./commands/files.ts')).ls }),
  },
  {
    name: 'cat',
    about: 'print files',
    arguments: [{ ...PATH, name: '<paths...>' }],
    options: [{ flags: '--version <version>', about: 'an older version, as history names it' }],
    load: async () => ({ run: (await import('./commands/files.ts')).cat }),
  },
  {
    name: 'put',
    about: 'copy a file of this machine into the volume',
    arguments: [{ name: '<local>', about: 'a file; - is standard input' }, PATH],
    options: [RECURSIVE],
    load: async () => ({ run: (await import('./commands/put.ts')).put }),
  },
  {
    name: 'get',
    about: 'copy a file of the volume to this machine',
    arguments: [PATH, { name: '[local]', about: 'a file or directory; - is standard output' }],
    options: [
      RECURSIVE,
      { flags: '--version <version>', about: 'an older version, as history names it' },
    ],
    load: async () => ({ run: (await import('./commands/get.ts')).get }),
  },
  {
    name: 'rm',
    about: 'remove files',
    arguments: [{ ...PATH, name: '<paths...>' }],
    options: [RECURSIVE],
    load: async () => ({ run: (await import('./commands/files.ts')).rm }),
  },
  {
    name: 'mkdir',
    about: 'make directories',
    arguments: [{ ...PATH, name: '<paths...>' }],
    options: [{ flags: '-p, --parents', about: 'also those above; being there is no error' }],
    load: async () => ({ run: (await import('./commands/files.ts')).mkdir }),
  },
  {
    name: 'mount',
    about: 'mount a volume',
    arguments: [{ name: '<dir>', about: 'an empty directory of this machine' }],
    options: [OWNER],
    load: async () => ({ run: (await import('./commands/mount.ts')).mount }),
  },
  {
    name: 'unmount',
    about: 'unmount a volume',
    arguments: [{ name: '[dir]', about: 'where it is mounted' }],
    load: async () => ({ run: (await import('./commands/mount.ts')).unmount }),
  },
]

const KEEPING: readonly CommandSpec[] = [
  {
    name: 'pin',
    about: 'keep a folder or file on this device, whatever policies say; waits until it is here',
    arguments: [PATH],
    options: [{ flags: '--no-wait', about: 'fetch it in the background' }],
    load: async () => ({ run: (await import('./commands/pins.ts')).pin }),
  },
  {
    name: 'unpin',
    about: 'end a pin; what is here stays for now',
    arguments: [PATH],
    load: async () => ({ run: (await import('./commands/pins.ts')).unpin }),
  },
  {
    name: 'pins',
    about: 'what is pinned on this device, and what of it is missing',
    load: async () => ({ run: (await import('./commands/pins.ts')).pins }),
  },
]

const CARE: readonly CommandSpec[] = [
  {
    name: 'invite',
    about: 'make an invite for more devices',
    options: [
      {
        flags: '--role <role>',
        about: 'what they may do',
        choices: ['admin', 'writer', 'reader'],
        preset: 'writer',
      },
      { flags: '--days <n>', about: 'how long it is good', kind: 'number', preset: 7 },
      { flags: '--uses <n>', about: 'for how many devices', kind: 'count', preset: 10 },
      { flags: '--recovery <code>', about: 'for a new admin, from the code that init printed' },
    ],
    load: async () => ({ run: (await import('./commands/invite.ts')).invite }),
  },
  {
    name: 'revoke',
    about: 'take a device out of the volume, and change its keys',
    arguments: [{ name: '<device>', about: 'its name, or the beginning of its id' }],
    options: [{ flags: '--yes', about: 'do not ask' }],
    load: async () => ({ run: (await import('./commands/revoke.ts')).revoke }),
  },
  {
    name: 'bootstrap',
    about: 'run an own node by which devices find each other',
    options: [
      { flags: '--port <n>', about: 'UDP port', kind: 'count', preset: 49737 },
      {
        flags: '--host <address>',
        about: 'IPv4 address that devices dial; default: WORMHOLE_BIND, or the first one here',
      },
    ],
    load: async () => ({ run: (await import('./commands/bootstrap.ts')).bootstrap }),
  },
  {
    name: 'verify',
    about: 'check everything that this device keeps, and repair it',
    options: [
      {
        flags: '--repair',
        about: 'fetch again what is damaged, and make anew what follows from it',
      },
      { flags: '--rebuild', about: 'build the index anew from the log' },
    ],
    load: async () => ({ run: (await import('./commands/verify.ts')).verify }),
  },
  {
    name: 'gc',
    about: 'free the space of what no file, version or open file needs any more',
    options: [{ flags: '--dry-run', about: 'only say what would be freed, and why not more' }],
    load: async () => ({ run: (await import('./commands/gc.ts')).gc }),
  },
  {
    name: 'doctor',
    about: 'check what wormhole needs on this machine',
    load: async () => ({ run: (await import('./commands/doctor.ts')).doctor }),
  },
  {
    name: 'service',
    about: 'start the daemon when the machine starts',
    commands: [
      {
        name: 'install',
        about: 'write a systemd unit for this home',
        options: [{ flags: '--print', about: 'only print the unit' }],
        load: async () => ({ run: (await import('./commands/service.ts')).install }),
      },
      {
        name: 'uninstall',
        about: 'remove the unit',
        load: async () => ({ run: (await import('./commands/service.ts')).uninstall }),
      },
    ],
  },
  {
    name: 'completion',
    about: 'print a completion script for a shell',
    arguments: [{ name: '<shell>', about: 'the shell', choices: ['bash', 'zsh', 'fish'] }],
    load: async () => ({ run: (await import('./commands/completion.ts')).completion }),
  },
  {
    name: 'version',
    about: 'which version this is',
    load: async () => ({ run: (await import('./commands/version.ts')).version }),
  },
]

/** The commands under the headings of the help. */
export const GROUPS: readonly { title: string; commands: readonly CommandSpec[] }[] = [
  { title: 'Getting started:', commands: GETTING_STARTED },
  { title: 'Looking:', commands: LOOKING },
  { title: 'Agreeing:', commands: AGREEING },
  { title: 'Files:', commands: FILES },
  { title: 'Keeping:', commands: KEEPING },
  { title: 'Care:', commands: CARE },
]
