/**
 * Policy files to begin with (`wormhole policy init`): every key with its meaning from the schema,
 * those that fit the purpose set, the others as comments with what holds without them.
 */
import { allowedText, type PolicyKey } from './language.ts'
import { sections, tomlValue } from './words.ts'

/** Whom there is a template for. */
export const PURPOSES = ['personal', 'company', 'laboratory', 'web'] as const
/** One of them. */
export type Purpose = (typeof PURPOSES)[number]

/** A value as it is written, and why. */
interface Choice {
  readonly value: string
  readonly why: string
}

interface Template {
  readonly title: string
  /** By dotted name. */
  readonly set: Readonly<Record<string, Choice>>
  /** Left as comments: what somebody may want. */
  readonly offered: Readonly<Record<string, Choice>>
}

/** Names of devices and labels are examples, so that what needs them is only offered. */
const TEMPLATES: Readonly<Record<Purpose, Template>> = {
  personal: {
    title: 'a private person: the machines of one household as one folder',
    set: {
      'conflicts.strategy': { value: '"copies"', why: 'Nobody else would notice a lost edit.' },
      'replication.copies': { value: '2', why: 'Theft or fire of one machine loses nothing.' },
      'local.keep': { value: '"always"', why: 'Everything is there on the train, too.' },
      'history.days': { value: '90', why: 'Long enough to notice what was deleted by mistake.' },
    },
    offered: {
      'local.keep': {
        value: '{ default = "cached", "device=nas" = "always" }',
        why: 'When the laptop is too small: the NAS has everything, others what they read.',
      },
      'placement.require': { value: '["device=nas"]', why: 'One of the copies is at home.' },
      ignore: { value: '[".DS_Store", "Thumbs.db", "*.part"]', why: 'What programs leave behind.' },
    },
  },
  company: {
    title: 'a small company: shared documents, no administrator around',
    set: {
      'conflicts.strategy': { value: '"copies"', why: 'Two people wrote; people decide.' },
      'replication.copies': { value: '3', why: 'One machine in repair, another one stolen.' },
      'local.keep': { value: '"always"', why: 'Work goes on when the line is down.' },
      'history.days': { value: '365', why: 'A year of accounts.' },
      'history.versions': { value: '10', why: 'The last drafts of old contracts stay.' },
    },
    offered: {
      'placement.require': {
        value: '["site=office", "site=home"]',
        why: 'One copy in each place, for devices that were given such labels.',
      },
      'limits.file_size': { value: '"10 GB"', why: 'No disk images among the documents.' },
      'access.readonly': {
        value: 'true',
        why: 'In a folder of its own: templates and price lists that only admins change.',
      },
    },
  },
  laboratory: {
    title: 'a laboratory: large data that can be made again, many machines',
    set: {
      'conflicts.strategy': { value: '"last-writer-wins"', why: 'The last run counts.' },
      'conflicts.notify': { value: 'false', why: 'Nobody has to decide anything.' },
      'replication.copies': { value: '1', why: 'Losing it costs a run, not a result.' },
      'local.keep': { value: '"cached"', why: 'Each machine has what its jobs read.' },
      'local.prefetch': { value: '"1 MiB"', why: 'Indexes and settings are there at once.' },
      'history.days': { value: '3', why: 'Replaced results go soon, their space is needed.' },
    },
    offered: {
      'local.keep': {
        value: '{ default = "cached", "tier=hdd" = "always" }',
        why: 'Storage machines with that label have everything.',
      },
      'placement.avoid': { value: '["tier=ssd"]', why: 'Fast disks are for what runs now.' },
      ignore: { value: '["*.ckpt.tmp", "/scratch/"]', why: 'What dies with the job.' },
    },
  },
  web: {
    title: 'a web service: uploads that grow, read by several servers',
    set: {
      'conflicts.strategy': { value: '"last-writer-wins"', why: 'No visitor sees two versions.' },
      'replication.copies': { value: '3', why: 'Two servers may fail on one day.' },
      'local.keep': { value: '"always"', why: 'Every server answers alone.' },
      'history.days': { value: '14', why: 'Time to undo a bad release.' },
      'limits.file_size': { value: '"2 GB"', why: 'Larger uploads are a mistake or an attack.' },
    },
    offered: {
      'local.keep': {
        value: '{ default = "cached", "tier=hdd" = "always" }',
        why: 'When it has grown: storage servers with that label have everything.',
      },
      'limits.quota': { value: '"2 TB"', why: 'Before the disks are full.' },
      'access.readonly': { value: 'true', why: 'In a folder of its own: what is deployed.' },
    },
  },
}

const WIDTH = 96

/** The text of a template. */
export function formatTemplate(purpose: Purpose): string {
  const { title } = TEMPLATES[purpose]
  const lines = [
    ...comment(`Policy of this folder and everything below it, for ${title}.`),
    '#',
    ...comment(
      'A folder below sets keys anew in a file of its own; what nobody sets has its default. A ' +
        'file with a mistake changes nothing.',
    ),
    '#',
    '#   wormhole policy check .wormhole.toml     whether it is right',
    '#   wormhole policy explain .                what holds here, and which line says so',
    '#   wormhole policy schema                   for editors that complete TOML: save it and make',
    '#                                            `#:schema FILE` the first line here',
    '',
  ]
  for (const { title: name, node, keys } of sections()) {
    if (node.properties !== undefined) lines.push(`[${name}]`)
    for (const key of keys) lines.push(...keyLines(key, TEMPLATES[purpose]), '')
  }
  return `${lines.join('\n').trimEnd()}\n`
}

function keyLines(key: PolicyKey, { set, offered }: Template): string[] {
  const name = key.path.at(-1) as string
  const { 'x-pending': pending } = key.node
  const chosen = set[key.key]
  const other = offered[key.key]
  const standing = `${name} = ${chosen?.value ?? tomlValue(key, key.default)}`
  return [
    ...comment(key.node.description),
    ...comment(`Allowed: ${allowedText(key.node)}.`),
    ...(pending === undefined ? [] : comment(`${capital(pending)}.`)),
    ...(chosen === undefined ? [] : comment(chosen.why)),
    chosen === undefined ? `# ${standing}` : standing,
    ...(other === undefined ? [] : [...comment(other.why), `# ${name} = ${other.value}`]),
  ]
}

function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1)
}

/** A sentence as comment lines. */
function comment(text: string): string[] {
  const lines: string[] = []
  let line = '#'
  for (const word of text.split(' ')) {
    if (line.length + 1 + word.length > WIDTH) {
      lines.push(line)
      line = '#'
    }
    line += ` ${word}`
  }
  return [...lines, line]
}
